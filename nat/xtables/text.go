package xtables

import (
	"fmt"
	"sort"
	"strconv"
	"strings"

	"natlab/nat"
)

// ReadSave reads the text of an iptables-save into tables, chains in the order of the text.
func (w Writer) ReadSave(text string) ([]Table, error) {
	r := newRegistry(w.Family)
	var out []Table
	lines := strings.Split(text, "\n")
	for i := 0; i < len(lines); i++ {
		name, ok := strings.CutPrefix(lines[i], "*")
		if !ok {
			if l := strings.TrimSpace(lines[i]); l != "" && l[0] != '#' {
				return nil, fmt.Errorf("line %d: %q outside a table", i+1, l)
			}
			continue
		}
		t := Table{Family: w.Family, Name: strings.TrimSpace(name)}
		n, err := w.table(r, &t, lines[i+1:])
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", i+2+n, err)
		}
		out = append(out, t)
		i += n + 1
	}
	return out, nil
}

// table reads one table up to its COMMIT and returns the number of lines before that.
func (w Writer) table(r *registry, t *Table, lines []string) (int, error) {
	chains, at := map[string]bool{}, map[string]int{}
	for n, line := range lines { // jumps may lead to a chain that is declared later
		if strings.HasPrefix(line, "COMMIT") {
			break
		}
		if !strings.HasPrefix(line, ":") {
			continue
		}
		c, err := w.declaration(line)
		if err != nil {
			return n, err
		}
		if chains[c.Name] {
			return n, fmt.Errorf("chain %q twice", c.Name)
		}
		chains[c.Name], at[c.Name] = true, len(t.Chains)
		t.Chains = append(t.Chains, c)
	}
	for n, line := range lines {
		switch {
		case strings.HasPrefix(line, "COMMIT"):
			return n, nil
		case line == "" || line[0] == '#' || line[0] == ':':
		default:
			if err := w.append(r, t, chains, at, line); err != nil {
				return n, fmt.Errorf("%w in %q", err, line)
			}
		}
	}
	return len(lines), fmt.Errorf("table %s without COMMIT", t.Name)
}

// declaration reads ":CHAIN POLICY [packets:bytes]".
func (w Writer) declaration(line string) (Chain, error) {
	f := strings.Fields(line[1:])
	if len(f) < 2 {
		return Chain{}, fmt.Errorf("chain declaration %q: want :NAME POLICY [PACKETS:BYTES]", line)
	}
	verdict := VerdictReturn
	c := Chain{Name: f[0]}
	switch f[1] {
	case "-":
	case "ACCEPT", "DROP":
		h, err := nat.ParseHook(f[0])
		if err != nil {
			return Chain{}, err
		}
		c.BuiltIn, c.Hook = true, h
		if verdict = VerdictAccept; f[1] == "DROP" {
			verdict = VerdictDrop
		}
	default:
		return Chain{}, fmt.Errorf("policy %q of chain %s", f[1], f[0])
	}
	c.Tail = verdictEntry(w.Family, verdict)
	if len(f) > 2 && c.BuiltIn {
		if _, err := fmt.Sscanf(f[2], "[%d:%d]", &c.Tail.Packets, &c.Tail.Bytes); err != nil {
			return Chain{}, fmt.Errorf("counters %q of chain %s", f[2], f[0])
		}
	}
	return c, nil
}

// verdictEntry is a rule that asks nothing and ends with a verdict.
func verdictEntry(f nat.Family, v int32) Entry {
	e := Entry{Header: anyHeader(f), Target: Extension{Data: make([]byte, alignment)}}
	order.PutUint32(e.Target.Data, uint32(v))
	return e
}

// append adds "[packets:bytes] -A CHAIN ..." to its chain.
func (w Writer) append(r *registry, t *Table, chains map[string]bool, at map[string]int, line string) error {
	var packets, bytes uint64
	if line[0] == '[' {
		counters, rest, ok := strings.Cut(line[1:], "] ")
		p, b, ok2 := strings.Cut(counters, ":")
		var err1, err2 error
		packets, err1 = strconv.ParseUint(p, 10, 64)
		bytes, err2 = strconv.ParseUint(b, 10, 64)
		if !ok || !ok2 || err1 != nil || err2 != nil {
			return fmt.Errorf("counters %q", counters)
		}
		line = rest
	}
	ws, err := words(line)
	if err != nil {
		return err
	}
	if len(ws) < 2 || ws[0] != "-A" {
		return fmt.Errorf("want -A CHAIN")
	}
	if !chains[ws[1]] && !t.implied(ws[1], chains, at) {
		return fmt.Errorf("chain %q is not there", ws[1])
	}
	e, err := w.rule(r, chains, ws[2:])
	if err != nil {
		return err
	}
	if packets != 0 || bytes != 0 {
		e.Packets, e.Bytes = packets, bytes
	}
	c := &t.Chains[at[ws[1]]]
	c.Entries = append(c.Entries, e)
	return nil
}

// implied adds a built-in chain that the text uses without naming it.
func (t *Table) implied(name string, chains map[string]bool, at map[string]int) bool {
	for _, h := range nat.TableHooks(t.Name) {
		if h.String() == name {
			chains[name], at[name] = true, len(t.Chains)
			t.Chains = append(t.Chains, Chain{Name: name, Hook: h, BuiltIn: true, Tail: verdictEntry(t.Family, VerdictAccept)})
			return true
		}
	}
	return false
}

// Complete adds the built-in chains that the table's text did not name, with policy ACCEPT, and puts the chains in
// the order in which iptables-restore leaves them in the kernel: by hook, then the user's by name.
func (t Table) Complete() Table {
	have := map[string]bool{}
	for _, c := range t.Chains {
		have[c.Name] = true
	}
	t.Chains = append([]Chain(nil), t.Chains...)
	for _, h := range nat.TableHooks(t.Name) {
		if !have[h.String()] {
			t.Chains = append(t.Chains, Chain{Name: h.String(), Hook: h, BuiltIn: true, Tail: verdictEntry(t.Family, VerdictAccept)})
		}
	}
	sort.SliceStable(t.Chains, func(i, j int) bool {
		a, b := t.Chains[i], t.Chains[j]
		switch {
		case a.BuiltIn != b.BuiltIn:
			return a.BuiltIn
		case a.BuiltIn:
			return a.Hook < b.Hook
		}
		return a.Name < b.Name
	})
	return t
}
