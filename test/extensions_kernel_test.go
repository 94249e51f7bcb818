package test

import (
	"bytes"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"natlab/lab/dataplane"
	"natlab/lab/inspect"
	"natlab/lab/netns"
	"natlab/nat"
	"natlab/nat/view"
)

// loadedLine is a line that the kernel holds.
type loadedLine struct {
	extensionLine
	backend dataplane.Backend
	family  nat.Family
	saved   string // as iptables-save prints it; several rules are lines of their own
	view    string // as natlab shows the kernel's bytes, or why it does not
}

// loadExtensions loads the lines of each file at once where that goes, else each in a namespace of its own.
func loadExtensions(t *testing.T, backend dataplane.Backend, family nat.Family, lines []extensionLine, s *extensionScore) {
	t.Helper()
	lines = slices.DeleteFunc(slices.Clone(lines), func(l extensionLine) bool {
		return l.mistake || !slices.Contains(l.families, family)
	})
	loader := extensionLoader{backend: backend, family: family}
	for len(lines) > 0 {
		n := slices.IndexFunc(lines, func(l extensionLine) bool { return !l.goesWith(lines[0]) })
		if n < 0 {
			n = len(lines)
		}
		loaded, ok := loader.load(t, lines[:n])
		if !ok {
			loaded = nil
			for i := range lines[:n] {
				one, ok := loader.load(t, lines[i:i+1])
				if loaded = append(loaded, one...); !ok && s.show {
					t.Logf("%s, %s, %s\n    %-11s %s", lines[i].place, backend, family, "not loaded", lines[i])
				}
			}
		}
		for _, l := range loaded {
			s.add(t, l)
		}
		lines = lines[n:]
	}
}

// goesWith reports whether two lines are loaded together: they are of one file and need the same before them.
func (l extensionLine) goesWith(o extensionLine) bool {
	return l.extension == o.extension && slices.Equal(l.families, o.families) && slices.Equal(l.before, o.before)
}

// extensionLoader loads lines by one backend for one family.
type extensionLoader struct {
	backend dataplane.Backend
	family  nat.Family
}

// load loads lines together into a namespace of its own. Without ok they are to be tried one by one; a line by itself
// that the program refuses gives none.
func (x extensionLoader) load(t *testing.T, lines []extensionLine) (loaded []loadedLine, ok bool) {
	t.Helper()
	name := strings.Replace(uniqueName(t), "plan-", "ext-", 1)
	h, err := netns.CreateLeased(name)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, h.Close())
		require.NoError(t, netns.Delete(name))
	}()
	// What stands before is there first: x_tables checks a table's rules in their order, and user chains come last.
	for _, input := range []string{beforeInput(lines[0].before), restoreInput(lines)} {
		if _, err := x.program(t, h, "restore", input, "--noflush"); err != nil {
			return nil, false
		}
	}
	text, err := x.program(t, h, "save", "")
	require.NoError(t, err)
	saved := rulesByChain(text)
	viewed, problem := map[string][]string{}, error(nil)
	if raw, err := inspect.Read(h, x.backend, x.family); err == nil {
		version, err := view.ParseVersion(extensionsVersion)
		require.NoError(t, err)
		shown, _ := view.View{Version: version, Sets: raw.Sets}.Save(raw.Tables...)
		viewed = rulesByChain(shown)
	} else {
		problem = err
	}
	if len(lines) == 1 {
		l := loadedLine{extensionLine: lines[0], backend: x.backend, family: x.family}
		l.saved = strings.Join(saved[l.where()], "\n")
		if l.view = strings.Join(viewed[l.where()], "\n"); problem != nil {
			l.view = problem.Error()
		}
		require.NotEmpty(t, l.saved, "%s %s: the program takes %q and shows nothing of it", x.backend, x.family, l.spec)
		return []loadedLine{l}, true
	}
	count := map[string]int{}
	for _, l := range lines {
		i := count[l.where()]
		count[l.where()]++
		if i >= len(saved[l.where()]) || i >= len(viewed[l.where()]) {
			return nil, false
		}
		loaded = append(loaded, loadedLine{l, x.backend, x.family, saved[l.where()][i], viewed[l.where()][i]})
	}
	for where, n := range count {
		if len(saved[where]) != n || len(viewed[where]) != n {
			return nil, false
		}
	}
	return loaded, true
}

func (l extensionLine) where() string { return l.table + " " + l.chain }

// beforeInput is a user chain with the rules that other rules need.
func beforeInput(specs []string) string {
	var b strings.Builder
	b.WriteString("*filter\n:BEFORE - [0:0]\n")
	for _, spec := range specs {
		fmt.Fprintf(&b, "-A BEFORE %s\n", spec)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

func restoreInput(lines []extensionLine) string {
	var b strings.Builder
	for i, first := range lines {
		if slices.ContainsFunc(lines[:i], func(l extensionLine) bool { return l.table == first.table }) {
			continue
		}
		fmt.Fprintf(&b, "*%s\n", first.table)
		for _, l := range lines[i:] {
			if l.table == first.table {
				fmt.Fprintln(&b, l)
			}
		}
		b.WriteString("COMMIT\n")
	}
	return b.String()
}

// rulesByChain are the rules of an iptables-save by "TABLE CHAIN".
func rulesByChain(text string) map[string][]string {
	rules, table := map[string][]string{}, ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, "*"); ok {
			table = name
		}
		if rest, ok := strings.CutPrefix(line, "-A "); ok {
			chain, _, _ := strings.Cut(rest, " ")
			rules[table+" "+chain] = append(rules[table+" "+chain], line)
		}
	}
	return rules
}

// program runs one of the backend's programs inside the namespace, which is its own lock file too.
func (x extensionLoader) program(t *testing.T, h netns.Handle, verb, input string, options ...string) (string, error) {
	t.Helper()
	name := strings.Replace(string(x.backend), "iptables", map[nat.Family]string{nat.IPv4: "iptables", nat.IPv6: "ip6tables"}[x.family], 1) + "-" + verb
	cmd := exec.CommandContext(t.Context(), name, options...)
	cmd.Env = append(cmd.Environ(), "LC_ALL=C", "XTABLES_LOCKFILE=/proc/self/ns/net")
	cmd.Stdin = strings.NewReader(input)
	var out bytes.Buffer
	cmd.Stdout = &out
	err := h.Do(cmd.Run)
	return out.String(), err
}
