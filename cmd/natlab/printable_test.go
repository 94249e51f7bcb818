package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// No control character of a file gets to a terminal: of a comment, a chain, a device, a set, in what is printed and in what is told of it.
func TestPrintable(t *testing.T) {
	t.Parallel()
	require.Equal(t, "a\\x1b[31mb\\x07\n\tc\\x9bé", printable("a\x1b[31mb\x07\n\tc\u009bé"))
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		return path
	}
	rules := file("rules", "*filter\n:INPUT ACCEPT [0:0]\n:x\x1b[31m - [0:0]\n-A INPUT -j x\x1b[31m\n-A x\x1b[31m -m comment --comment \"a\x1b]0;b\x07\" -m set --match-set s\x1b[2J src -j DROP\nCOMMIT\n")
	bundle := func(n, comment string) string {
		return file(n, "=== natlab bundle 1\n=== hostname\nn\x1b[31m\n\n=== exit 0\n=== iptables-save\n*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -m comment --comment \""+comment+"\x1b[31m\" -j DROP\nCOMMIT\n\n=== exit 0\n"+
			"=== ip -d address\n2: eth\x1b0: <UP> mtu 1500\n    inet 192.0.2.10/24 scope global eth0\n\n=== exit 0\n=== ip -4 route show table all\n192.0.2.0/24 dev eth\x1b0\n\n=== exit 0\n=== ipset save\n\n=== ! \x1b[31mno\n=== exit 1\n=== end\n")
	}
	a, b := bundle("a", "a"), bundle("b", "b")
	for _, args := range [][]string{
		{"explain", "--rules", rules, "--address", "eth0=192.0.2.10/24", "--packet", "tcp 192.0.2.99:1 > 192.0.2.10:2", "--why", "INPUT"},
		{"explain", "--bundle", a, "--packet", "tcp 192.0.2.99:1 > 192.0.2.10:2"},
		{"diff", rules, rules, "--bundle", a},
		{"diff", a, b},
		{"explain", "--rules", "\x1b[31m", "--packet", "tcp 192.0.2.99:1 > 192.0.2.10:2"},
	} {
		t.Run(strings.ToValidUTF8(args[0]+" "+args[1], ""), func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			p := program{in: strings.NewReader(""), out: &out, err: &out}
			p.run(t.Context(), args)
			require.NotContains(t, out.String(), "\x1b", "%q", out.String())
			require.NotContains(t, out.String(), "\x07")
			require.NotEmpty(t, out.String())
		})
	}
}
