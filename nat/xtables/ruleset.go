package xtables

import (
	"fmt"

	"natlab/nat"
	"natlab/nat/iptables"
)

// Ruleset is what iptables-save prints of the tables, as rules of nat/iptables with their counters. An extension that
// natlab has no words for is kept as its bytes: "-m NAME --raw REVISION:HEX". sets names the ipsets by number and may
// be nil.
func Ruleset(family nat.Family, sets map[uint16]string, tables ...Table) (iptables.Ruleset, error) {
	rs := iptables.Ruleset{Family: family}
	for _, t := range tables {
		one, err := iptables.ParseString(t.text(sets), family)
		if err != nil {
			return iptables.Ruleset{}, fmt.Errorf("table %s: %w", t.Name, err)
		}
		rs.Tables = append(rs.Tables, one.Tables...)
	}
	return rs, nil
}

// Tables turns rules into entries with the revisions of the writer's version. Every table is complete: the built-in
// chains are there and stand first, the others by name.
func (w Writer) Tables(rs iptables.Ruleset) ([]Table, error) {
	tables, err := w.ReadSave(rs.Counted())
	if err != nil {
		return nil, fmt.Errorf("encode rules: %w", err)
	}
	for i := range tables {
		tables[i] = tables[i].Complete()
	}
	return tables, nil
}
