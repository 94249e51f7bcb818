//go:build !core

package xtables

import (
	"bytes"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// program runs a program of iptables for a family, in the calling thread's namespace.
func program(t *testing.T, f nat.Family, name, stdin string, args ...string) string {
	t.Helper()
	if f == nat.IPv6 {
		name = strings.Replace(name, "iptables", "ip6tables", 1)
	}
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s %v: %v: %s", name, args, err, stderr.String())
	}
	return string(out)
}

// noRemarks takes the lines of time away.
func noRemarks(s string) string {
	var out []string
	for l := range strings.SplitSeq(s, "\n") {
		if !strings.HasPrefix(l, "#") {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n")
}

// The listings of the real program, of both backends, are read as the rules that it saves: every row's examples, all
// extensions of the views, and what kube-proxy 1.37 wrote.
func TestKernelListingsAreReadAsTheyAreSaved(t *testing.T) {
	t.Parallel()
	for _, c := range kernelCases(t) {
		if strings.Contains(c.name, "v1.") && !strings.Contains(c.name, "v1.37") {
			continue
		}
		for _, backend := range []string{"legacy", "nft"} {
			t.Run(c.name+" "+backend, func(t *testing.T) {
				t.Parallel()
				inNamespace(t, func() {
					makeObjects(t, c.family, c.text)
					text := c.text
					if backend == "nft" { // it has no such verdict
						text = strings.ReplaceAll(text, "-A INPUT -j QUEUE\n", "")
					}
					program(t, c.family, "iptables-"+backend+"-restore", text)
					if t.Failed() {
						return
					}
					save := program(t, c.family, "iptables-"+backend+"-save", "", "-c")
					for table := range strings.SplitSeq(save, "*") {
						name, _, _ := strings.Cut(table, "\n")
						if nat.TableHooks(name) == nil {
							continue
						}
						readBack(t, c.family, save, name, backend)
					}
				})
			})
		}
	}
}

// readBack lists one table in all forms that people post, and holds each against the save.
func readBack(t *testing.T, f nat.Family, save, table, backend string) {
	t.Helper()
	saved, err := iptables.ParseString(save, f)
	if err != nil {
		t.Error(err)
		return
	}
	want, _ := saved.Table(table)
	for _, options := range [][]string{{"-n", "-v"}, {"-n"}, {"-n", "-v", "--line-numbers"}, {"-n", "--line-numbers"}, {"-v"}, {}} {
		list := program(t, f, "iptables-"+backend, "", append([]string{"-t", table, "-L"}, options...)...)
		command := "# ip6tables -t " + table + " -L\n"
		if f == nat.IPv4 {
			command = "# iptables -t " + table + " -L\n"
		}
		read, err := iptables.Read(command + list)
		if err != nil {
			t.Errorf("%v: %v\n%s", options, err, list)
			return
		}
		got, _ := read.Rulesets[0].Table(table)
		verbose, numeric := slices.Contains(options, "-v"), slices.Contains(options, "-n")
		for _, chain := range want.Chains {
			l, ok := got.Chain(chain.Name)
			if !ok || len(l.Rules) != len(chain.Rules) {
				t.Errorf("%v: chain %s\n%s", options, chain.Name, list)
				return
			}
			for i, r := range chain.Rules {
				a, b := withoutTable(listedText(r, verbose, chain.Name)), withoutTable(l.Rules[i].Text(chain.Name))
				if !numeric {
					a, b = withoutNames(a), withoutNames(b)
				}
				unknown := slices.ContainsFunc(l.Rules[i].Matches, func(m xt.Match) bool { _, is := m.(iptables.Unlisted); return is })
				if a != b && !slices.Contains(notListed, r.Text(chain.Name)) && (numeric || !unknown) {
					t.Errorf("%v\nsaved  %s\nlisted %s", options, a, b)
				}
			}
		}
	}
}

// withoutNames takes away what is printed otherwise without -n: the users and groups of the examples, which Debian has names
// for, and ::/8, which is printed as any address.
func withoutNames(s string) string {
	s = strings.NewReplacer("--uid-owner lp", "--uid-owner 7", "! --gid-owner tty", "! --gid-owner 5").Replace(s)
	return unspecified.ReplaceAllString(s, "")
}

var unspecified = regexp.MustCompile(` -s ::/\d+`)

// listedText is a rule as far as a listing has it: without -v no devices.
func listedText(r iptables.Rule, verbose bool, chain string) string {
	if verbose {
		return r.Text(chain)
	}
	r.Matches = slices.DeleteFunc(slices.Clone(r.Matches), func(m xt.Match) bool {
		switch m.(type) {
		case iptables.InInterface, iptables.OutInterface:
			return true
		}
		return false
	})
	r.Matches = append(r.Matches, iptables.UnlistedDevices{})
	return r.Text(chain)
}
