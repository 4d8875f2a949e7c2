// SPDX-License-Identifier: Apache-2.0

//go:build debian

package dnssec_test

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// Every zone begins with this. The name server's address does not matter: unbound is told where the zones are.
const apex = `$TTL 300
@ IN SOA ns.example. hostmaster.example. 1 3600 600 86400 300
@ IN NS ns.example.
`

// zone is one zone; the name of the root is empty.
type zone struct {
	name, text string
	// unsigned zones have no keys; with keys and stripped the parent says that it is signed, and it is not.
	unsigned, stripped bool
	expired            bool
	// tamper changes a line of the signed zone, or drops it by "".
	tamper func(line string) string
}

// zonesFor are the zones when mail hosts listen on port and the good one has the certificate. %P is the port, %H the
// SHA-256 of the certificate's public key.
func zonesFor(port uint16, certificate tls.Certificate) []zone {
	signed := `@ IN MX 10 mx
mx IN A 127.0.0.2
_%P._tcp.mx IN TLSA 3 1 1 %H
`
	many := "" // more MX than fit into a datagram
	for i := range 60 {
		many += fmt.Sprintf("many IN MX 10 one-of-many-hosts-%d.many\none-of-many-hosts-%[1]d.many IN A 127.0.1.%[1]d\n", i)
	}
	all := []zone{
		{name: "secure.example", text: signed + `
aliased IN MX 10 mail
mail IN CNAME mx
alias IN CNAME secure.example.
nodane IN MX 10 plain
plain IN A 127.0.0.2
pkixonly IN MX 10 pkix
pkix IN A 127.0.0.2
_%P._tcp.pkix IN TLSA 1 1 1 %H
mixed IN MX 10 mx.insecure.example.
both IN MX 10 mx
both IN MX 20 mx.bogustlsa.example.
wrongkey IN MX 10 wrong
wrong IN A 127.0.0.3
_%P._tcp.wrong IN TLSA 3 1 1 %H
` + many},
		{name: "insecure.example", text: signed, unsigned: true},
		{name: "stripped.example", text: signed, stripped: true},
		{name: "expired.example", text: signed, expired: true},
		{name: "bogusmx.example", text: signed, tamper: replace("MX\t10 ", "MX\t11 ")},
		{name: "bogusaddr.example", text: signed, tamper: replace("127.0.0.2", "127.0.0.3")},
		{name: "bogustlsa.example", text: signed, tamper: replace("TLSA\t3 1 1 ", "TLSA\t3 0 1 ")},
		{name: "droppedtlsa.example", text: signed, tamper: dropTLSA},
	}
	key := sha256.Sum256(certificate.Leaf.RawSubjectPublicKeyInfo)
	fill := strings.NewReplacer("%P", fmt.Sprint(port), "%H", fmt.Sprintf("%x", key))
	for i := range all {
		all[i].text = fill.Replace(all[i].text)
	}
	return all
}

func replace(before, after string) func(string) string {
	return func(line string) string { return strings.Replace(line, before, after, 1) }
}

// dropTLSA takes the records and their signatures away, as somebody on the way would to get mail without DANE.
func dropTLSA(line string) string {
	if strings.Contains(line, "\tTLSA\t") || strings.Contains(line, "\tRRSIG\tTLSA ") {
		return ""
	}
	return line
}

// build writes and signs all zones and, above them, example and the root. It gives the files by zone, and the DS record
// of the root as trust anchor: the whole DNS is ours.
func build(t *testing.T, bin, dir string, zones []zone) (files map[string]string, anchor string) {
	t.Helper()
	files = map[string]string{}
	delegate := func(parent *zone, children ...zone) {
		for _, z := range children {
			file, ds := z.build(t, bin, dir)
			files[z.name+"."] = file
			parent.text += z.name + ". IN NS ns.example.\n" + ds
		}
	}
	example := zone{name: "example", text: "ns IN A 127.0.0.1\n"}
	delegate(&example, zones...)
	root := zone{text: "ns.example. IN A 127.0.0.1\n"}
	delegate(&root, example)
	files["."], anchor = root.build(t, bin, dir)
	return files, strings.Join(strings.Fields(anchor), " ")
}

// build gives the file to serve and the DS record for the parent, none for a zone without keys.
func (z *zone) build(t *testing.T, bin, dir string) (file, ds string) {
	t.Helper()
	file = write(t, dir, "zone."+z.name, "$ORIGIN "+z.name+".\n"+apex+z.text)
	if z.unsigned {
		return file, ""
	}
	ksk := tool(t, bin, dir, "ldns-keygen", "-a", "ECDSAP256SHA256", "-k", z.name+".")
	zsk := tool(t, bin, dir, "ldns-keygen", "-a", "ECDSAP256SHA256", z.name+".")
	record, err := os.ReadFile(filepath.Join(dir, ksk+".ds"))
	if err != nil {
		t.Fatal(err)
	}
	ds = strings.TrimSpace(string(record)) + "\n"
	if z.stripped {
		return file, ds
	}
	begin, end := "20200101", "20370101"
	if z.expired {
		end = "20210101"
	}
	tool(t, bin, dir, "ldns-signzone", "-i", begin, "-e", end, "-f", file+".signed", file, ksk, zsk)
	file += ".signed"
	if z.tamper != nil {
		z.spoil(t, file)
	}
	return file, ds
}

// spoil tampers with the signed zone, and fails the test when that changes nothing.
func (z *zone) spoil(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	spoilt := ""
	for line := range strings.Lines(string(text)) {
		spoilt += z.tamper(line)
	}
	if spoilt == string(text) {
		t.Fatalf("nothing to tamper with in\n%s", text)
	}
	write(t, filepath.Dir(file), filepath.Base(file), spoilt)
}

// tool runs a program in dir and gives what it prints.
func tool(t *testing.T, bin, dir, name string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, name), args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// leaf parses the certificate once, for its public key.
func leaf(t *testing.T, c tls.Certificate) tls.Certificate {
	t.Helper()
	if c.Leaf == nil {
		parsed, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		c.Leaf = parsed
	}
	return c
}
