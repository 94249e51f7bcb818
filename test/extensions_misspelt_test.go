package test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/nat"
	"natlab/nat/xt"
)

// What a value becomes in a misspelt line.
var misspeltValues = []string{
	"0", "1", "15", "31", "32", "64", "128", "255", "256", "65535", "4294967295", "4294967296", "18446744073709551616", "0x10", "010", "08", "-1", "1.5", "", "1:2", "2:1", "1:", ":1", ":",
	"1-2", "2-1", "1,2", "1/2", "0/0", "1/0x", "all", "ANY", "1s", "10/min", "tcp", "http", "1.2.3.4", "fd00::1", "1.2.3.4/8", "10.1", "fd00::1/8", "a",
}

// misspeller misspells rules of iptables' own tests.
type misspeller struct {
	*rand.Rand
	lines []extensionLine
}

// misspelt is a rule with one or two changes.
func (m misspeller) misspelt(spec string) string {
	words := strings.Fields(spec)
	for range 1 + m.IntN(2) {
		if len(words) == 0 {
			break
		}
		words = m.change(words, m.IntN(len(words)))
	}
	return strings.Join(words, " ")
}

var numberWithin = regexp.MustCompile(`[0-9]+`)

func (m misspeller) change(words []string, i int) []string {
	long := strings.HasPrefix(words[i], "--") && len(words[i]) > 4
	switch m.IntN(8) {
	case 0:
		return slices.Delete(words, i, i+1)
	case 1:
		return slices.Insert(words, i, "!")
	case 2:
		words[i] = strings.ToUpper(words[i])
	case 3: // with the options of another one
		return append(words, strings.Fields(m.lines[m.IntN(len(m.lines))].spec)...)
	case 4:
		if long {
			words[i] = words[i][:len(words[i])-1-m.IntN(len(words[i])-3)]
		}
	case 5:
		if long && i+1 < len(words) {
			words[i] += "=" + words[i+1]
			return slices.Delete(words, i+1, i+2)
		}
	case 6:
		if at := numberWithin.FindStringIndex(words[i]); at != nil {
			words[i] = words[i][:at[0]] + misspeltValues[m.IntN(18)] + words[i][at[1]:]
		}
	default:
		if words[i][0] != '-' {
			words[i] = misspeltValues[m.IntN(len(misspeltValues))]
		}
	}
	return words
}

// Extensions whose lines need what is not here: files, devices, sets, other rules, or modules that this kernel may not have.
var notMisspelt = []string{
	"LED", "SECMARK", "ipvs", "CLUSTERIP", "set", "SET", "nfacct", "bpf", "IDLETIMER", "rateest", "RATEEST", "connlabel", "cgroup", "owner",
}

// What natlab takes or refuses otherwise than iptables 1.8.9, and why.
var misspeltOtherwise = []*regexp.Regexp{
	regexp.MustCompile(` -[a-z] ! `),                                                                // as iptables 1.4.2 and older saved it: taken, with a note
	regexp.MustCompile(`-m dccp.* --[a-z-]*ports? \S*(65536|42949672)`),                             // iptables begins at 0 again
	regexp.MustCompile(`ports? \S*-\d|--set-class \S*\d{8}`),                                        // and here
	regexp.MustCompile(`--time(start|stop) (:|\S+:( |$))`),                                          // nothing is 0 to iptables
	regexp.MustCompile(`--(dst|hbh)-opts \S*-1`),                                                    // iptables makes 255 of it
	regexp.MustCompile(`--(connlimit|hashlimit|hmark)-\S*(mask|prefix)\S* (\d{3,}|3[3-9]|[4-9]\d)`), // a number too high is an address to iptables, and its mask has a hole
	regexp.MustCompile(`--hashlimit-(upto|above) \S+/(day|hour).*--hashlimit-burst`),                // what overflows is the kernel's HZ to decide
}

// misspellings is how many rules of each family are tried; NATLAB_MISSPELT and NATLAB_SEED take others.
const misspellings = 200

// TestExtensionsMisspelt changes lines of iptables' own tests here and there: each is taken, refused and read as one of the
// backends of iptables-restore does.
func TestExtensionsMisspelt(t *testing.T) {
	t.Parallel()
	lines, count, seed := extensionLines(t), misspellings, uint64(1)
	if n, err := strconv.Atoi(os.Getenv("NATLAB_MISSPELT")); err == nil {
		count = n
	}
	if n, err := strconv.ParseUint(os.Getenv("NATLAB_SEED"), 10, 64); err == nil {
		seed = n
	}
	t.Logf("NATLAB_SEED=%d", seed)
	for _, family := range []nat.Family{nat.IPv4, nat.IPv6} {
		t.Run(family.String(), func(t *testing.T) {
			t.Parallel()
			r := newRestorer(t, family)
			m := misspeller{rand.New(rand.NewPCG(seed, uint64(family))), slices.DeleteFunc(slices.Clone(lines), func(l extensionLine) bool { //nolint:gosec // to be had again
				return len(l.before) > 0 || !slices.Contains(l.families, family) || slices.Contains(notMisspelt, l.extension)
			})}
			for range count {
				l := m.lines[m.IntN(len(m.lines))]
				l.spec = m.misspelt(l.spec)
				if d := r.differsAlone(t, l); d != "" {
					t.Error(d)
				}
			}
		})
	}
}

// differsAlone is restorer.differs of one rule, of any table.
func (r restorer) differsAlone(t *testing.T, l extensionLine) string {
	t.Helper()
	if slices.ContainsFunc(misspeltOtherwise, func(x *regexp.Regexp) bool { return x.MatchString(l.String()) }) {
		return ""
	}
	var saved []string
	for _, backend := range dataplane.Backends() {
		x := extensionLoader{backend: backend, family: r.family}
		if _, err := x.program(t, r.ns, "restore", restoreInput([]extensionLine{l})); err != nil {
			continue
		}
		text, err := x.program(t, r.ns, "save", "", "-t", l.table)
		require.NoError(t, err)
		saved = append(saved, strings.Join(rulesByChain(text)[l.where()], "\n"))
	}
	got, err := l.parsed(r.family, l.String())
	what := fmt.Sprintf("%s, table %s\n    written  %s", r.family, l.table, l)
	switch {
	case err != nil && len(saved) == 2:
		return fmt.Sprintf("%s\n    natlab   %v\n    saved    %s", what, err, saved[0])
	case err != nil || holdsRaw(got.Chains[0].Rules[0].Matches) || unknownTarget(got.Chains[0].Rules[0].Target):
		return "" // natlab takes what it does not know for an extension of somebody else's
	}
	var printed []string
	for _, rule := range got.Chains[0].Rules {
		printed = append(printed, rule.Text(l.chain))
	}
	if text := strings.Join(printed, "\n"); !slices.Contains(saved, text) {
		return fmt.Sprintf("%s\n    natlab   %s\n    saved    %s", what, text, strings.Join(saved, "\n             "))
	}
	return ""
}

func unknownTarget(t xt.Target) bool { _, raw := t.(xt.RawTarget); return raw }

func holdsRaw(matches []xt.Match) bool {
	return slices.ContainsFunc(matches, func(m xt.Match) bool { _, raw := m.(xt.RawMatch); return raw })
}
