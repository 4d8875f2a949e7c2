// SPDX-License-Identifier: Apache-2.0

package house_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEveryResolverRowHasATest wants a test named after each row of the resolver's behaviour, R-01 to R-53, so that a
// rule cannot lose its test unnoticed. -v prints which tests those are.
func TestEveryResolverRowHasATest(t *testing.T) {
	const rows = 53
	named := regexp.MustCompile(`(?m)^func (Test(R\d\d)_\w+)\(`)
	tests := map[string][]string{}
	for file, path := range goFiles(t) {
		if !strings.HasSuffix(path, "_test.go") {
			continue
		}
		code, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(code), -1) {
			tests[m[2]] = append(tests[m[2]], path[:strings.LastIndexByte(path, '/')]+" "+m[1])
		}
	}
	for i := 1; i <= rows; i++ {
		row := fmt.Sprintf("R%02d", i)
		if len(tests[row]) == 0 {
			t.Errorf("no test is named after row R-%02d", i)
		}
		for _, test := range tests[row] {
			t.Logf("R-%02d  %s", i, test)
		}
	}
}
