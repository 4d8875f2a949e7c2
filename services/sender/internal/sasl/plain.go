// SPDX-License-Identifier: Apache-2.0

package sasl

// plain is PLAIN (RFC 4616): everything in the initial response.
type plain struct{ response []byte }

func newPlain(c Credentials) Exchange {
	return &plain{response: []byte("\x00" + c.Username + "\x00" + c.Password)}
}

// Name is the mechanism.
func (x *plain) Name() string { return "PLAIN" }

// Initial is the whole.
func (x *plain) Initial() []byte { return x.response }

// Next has nothing to add.
func (x *plain) Next([]byte) ([]byte, error) { return nil, errChallenge }

// Finish is always content: the host proves nothing in PLAIN.
func (x *plain) Finish() error { return nil }

// login is LOGIN: user name and password, each when the host asks. The words in which it asks differ between hosts and
// do not count.
type login struct{ answers []string }

func newLogin(c Credentials) Exchange { return &login{answers: []string{c.Username, c.Password}} }

// Name is the mechanism.
func (x *login) Name() string { return "LOGIN" }

// Initial is nil: some hosts do not take one.
func (x *login) Initial() []byte { return nil }

// Next is the user name, then the password.
func (x *login) Next([]byte) ([]byte, error) {
	if len(x.answers) == 0 {
		return nil, errChallenge
	}
	answer := x.answers[0]
	x.answers = x.answers[1:]
	return []byte(answer), nil
}

// Finish is always content: the host proves nothing in LOGIN.
func (x *login) Finish() error { return nil }
