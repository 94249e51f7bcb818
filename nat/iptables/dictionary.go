package iptables

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"sync"

	"natlab/nat"
)

// Dictionary remembers what lines of rule sets mean. Nodes of one cluster hold the same lines but for a few, and each is read once then,
// and kept once. The zero value is empty, nil remembers nothing; its methods may be called by many goroutines.
type Dictionary struct {
	mu    sync.RWMutex
	lines map[place]map[string]knownLine // under mu
}

// knownLine is a line "-A CHAIN ...": the rules that it adds, without counters.
type knownLine struct {
	chain string
	rules []Rule
}

// Parse is Parse for a rule set of many that are much alike.
func (d *Dictionary) Parse(r io.Reader, family nat.Family) (Ruleset, error) {
	p := parser{rs: Ruleset{Family: family}, known: d}
	return p.parse(r)
}

func (d *Dictionary) find(p place, line []byte) (knownLine, bool) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	known, has := d.lines[p][string(line)]
	return known, has
}

func (d *Dictionary) learn(p place, line string, known knownLine) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lines == nil {
		d.lines = map[place]map[string]knownLine{}
	}
	if d.lines[p] == nil {
		d.lines[p] = map[string]knownLine{}
	}
	d.lines[p][line] = known
}

// place is where the table that is being read belongs.
func (p *parser) place() place { return place{p.rs.Family, p.table.table.Name} }

// recall carries out a line that is known; false: it has to be read.
func (p *parser) recall(line []byte) bool {
	if p.known == nil || p.table == nil {
		return false
	}
	counters, command := cutCounters(line)
	known, has := p.known.find(p.place(), command)
	if !has {
		return false
	}
	b := p.table
	chain, ok := b.use(known.chain)
	if !ok {
		return false
	}
	var packets, octets uint64
	if counters != "" {
		if packets, octets, ok = parseCounters(counters); !ok {
			return false
		}
	}
	for _, r := range known.rules {
		if r.Target == nil {
			continue
		}
		name := r.Target.Name()
		if to, leads := chainOf(r.Target); leads != b.declared(name) || leads && to != name { // a chain takes a target's name
			return false
		}
	}
	for _, r := range known.rules {
		r.Packets, r.Bytes, r.Line = packets, octets, p.number
		chain.Rules = append(chain.Rules, r)
	}
	return true
}

// learn remembers the line that was read last, where all that it does is adding rules.
func (p *parser) learn(line string) {
	if p.known == nil || p.table == nil || len(p.table.appended) == 0 {
		return
	}
	_, command := cutCounters([]byte(line))
	rules := slices.Clone(p.table.appended)
	for i := range rules {
		rules[i].Packets, rules[i].Bytes, rules[i].Line = 0, 0, 0
	}
	p.known.learn(p.place(), strings.Clone(string(command)), knownLine{chain: p.table.appendedTo, rules: rules})
}

// cutCounters parts a line "[PACKETS:BYTES] COMMAND"; counters is "" where there are none.
func cutCounters(line []byte) (counters string, command []byte) {
	if before, after, found := bytes.Cut(line, []byte("] ")); found && len(line) > 0 && line[0] == '[' {
		return string(before) + "]", after
	}
	return "", line
}
