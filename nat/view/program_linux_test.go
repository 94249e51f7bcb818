//go:build !core

package view

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
	"natlab/nat/xtables"
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

// rowCases are the examples of every row, as far as this kernel has the extension.
func rowCases(t *testing.T) (out []kernelCase) {
	t.Helper()
	for _, f := range []nat.Family{nat.IPv4, nat.IPv6} {
		for _, x := range xt.Extensions() {
			if !x.Families.Has(f) || len(x.Layouts) == 0 || !kernelHas(t, x, f) {
				continue
			}
			flag, table := " -m ", "filter"
			if x.Kind == xt.TargetKind {
				flag = " -j "
			}
			if len(x.Tables) > 0 {
				table = x.Tables[0]
			}
			var b strings.Builder
			for _, rule := range x.Before {
				b.WriteString("-A X " + rule + "\n")
			}
			examples := x.Examples
			if len(examples) == 0 {
				examples = []string{""} // it has no options
			}
			for _, example := range examples {
				if r, err := iptables.ParseRule(strings.TrimSpace(x.Needs+flag+x.Name+" "+example), f); err == nil {
					b.WriteString(r.Text("X") + "\n")
				}
			}
			out = append(out, kernelCase{f.String() + " row " + x.Name, f, "*" + table + "\n:X - [0:0]\n" + b.String() + "COMMIT\n", x})
		}
	}
	return out
}

// kernelHas reports whether the kernel has registered an extension; it has them built in, or loads them as modules. What else
// one needs of the machine has to be there, too.
func kernelHas(t *testing.T, x *xt.Extension, f nat.Family) bool {
	t.Helper()
	if file := map[string]string{"SELinux": "/sys/fs/selinux/enforce"}[x.Machine]; file != "" {
		if _, err := os.Stat(file); err != nil {
			return false
		}
	}
	file := map[xt.Kind]string{xt.MatchKind: "matches", xt.TargetKind: "targets"}[x.Kind]
	b, err := os.ReadFile("/proc/net/" + map[nat.Family]string{nat.IPv4: "ip", nat.IPv6: "ip6"}[f] + "_tables_" + file)
	require.NoError(t, err)
	return slices.Contains(strings.Fields(string(b)), x.Name)
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

// natlab refuses a rule in a table, or in a chain of a hook, where the kernel does. What iptables-nft has an expression of its
// own for goes anywhere by that.
func TestKernelRefusesWhatIsMisplaced(t *testing.T) {
	t.Parallel()
	for _, c := range rowCases(t) {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := xtables.Writer{Family: c.family, Version: Newest, Sets: map[string]uint16{"one": 0}}
			read, err := w.ReadSave(c.text)
			require.NoError(t, err)
			x := read[0].Chains[0]
			rules := strings.Split(strings.TrimSpace(c.text), "\n")[2:]
			inNamespace(t, func() {
				makeObjects(t, c.family, c.text)
				k := openKernel(t, c.family)
				defer k.close()
				before := x.Entries[:len(c.row.Before)]
				for i := len(before); i < len(x.Entries); i++ {
					for _, table := range nat.Tables() {
						for _, h := range nat.TableHooks(table) {
							other := "raw"
							if table == other {
								other = "security"
							}
							k.replace(placed(t, w, other, nat.Output, nil, before))
							rule := strings.Replace(rules[i], "-A X ", "-A "+h.String()+" ", 1)
							text := "*" + table + "\n" + rule + "\nCOMMIT\n"
							_, err := iptables.ParseString(text, c.family)
							e := k.replace(placed(t, w, table, h, x.Entries[i:i+1], nil))
							if e != 0 && c.row.Native {
								program(t, c.family, "iptables-nft-restore", text)
								e = 0
							}
							if (e != 0) != (err != nil) {
								t.Errorf("table %s: %s: the kernel: %v, natlab: %v", table, rule, e, err)
							}
						}
					}
				}
			})
		})
	}
}

// placed is a table with rules in a hook's chain, and others in chain X.
func placed(t *testing.T, w xtables.Writer, table string, h nat.Hook, rules, others []xtables.Entry) xtables.Blob {
	t.Helper()
	empty, err := w.ReadSave("*" + table + "\n:X - [0:0]\nCOMMIT\n")
	if err != nil {
		t.Error(err)
		return xtables.Blob{}
	}
	full := empty[0].Complete()
	for at := range full.Chains {
		switch c := &full.Chains[at]; {
		case !c.BuiltIn:
			c.Entries = others
		case c.Hook == h:
			c.Entries = rules
		}
	}
	b, err := full.Encode()
	if err != nil {
		t.Error(err)
	}
	return b
}

// What is asked for by -x, --line-numbers, -v, a chain's name and -S is printed as the program prints it.
func TestKernelTableIsListedAsAsked(t *testing.T) {
	t.Parallel()
	const text = `*filter
:INPUT DROP [1234567:890123456789]
:FORWARD ACCEPT [0:0]
:OUTPUT ACCEPT [0:0]
:X - [0:0]
[123456:7890123] -A INPUT -i lo -j X
[5:300] -A X -p tcp -m tcp --dport 80 -m comment --comment "a web" -j ACCEPT
[0:0] -A X -g Y
:Y - [0:0]
[0:0] -A Y ! -s 10.0.0.0/8
COMMIT
`
	inNamespace(t, func() {
		program(t, nat.IPv4, "iptables-legacy-restore", strings.Replace(strings.Replace(text, ":Y - [0:0]\n", "", 1), ":X", ":Y - [0:0]\n:X", 1), "-c")
		if t.Failed() {
			return
		}
		k := openKernel(t, nat.IPv4)
		defer k.close()
		table, err := xtables.Decode(k.dump("filter"))
		if err != nil {
			t.Error(err)
			return
		}
		for _, row := range []struct {
			asked string
			view  View
			show  func(View, ...xtables.Table) (string, []Note)
		}{
			{"-n -L", View{}, View.List},
			{"-n -L --line-numbers", View{Numbers: true}, View.List},
			{"-n -v -L --line-numbers", View{Numbers: true, Counters: true}, View.List},
			{"-n -v -x -L", View{Exact: true, Counters: true}, View.List},
			{"-n -L X", View{Chain: "X"}, View.List},
			{"-n -v -x -L INPUT", View{Chain: "INPUT", Exact: true, Counters: true}, View.List},
			{"-S", View{}, View.Rules},
			{"-v -S", View{Counters: true}, View.Rules},
			{"-S Y", View{Chain: "Y"}, View.Rules},
		} {
			row.view.Version = Version{1, 8, 9}
			got, _ := row.show(row.view, table)
			if d := diff(program(t, nat.IPv4, "iptables-legacy", "", strings.Fields(row.asked)...), got); d != "" {
				t.Errorf("%s: -real +ours\n%s", row.asked, d)
			}
		}
	})
}
