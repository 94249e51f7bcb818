package nftnl

import (
	"errors"
	"fmt"

	"natlab/nat/nftables"
)

// ErrUnwritten is what nf_tables may know and this package does not write; nothing of the transaction is sent then.
var ErrUnwritten = errors.New("natlab does not write this without the nft program")

// Verb is what a Command does.
type Verb uint8

// The verbs, as `nft -f` has them.
const (
	Add Verb = iota
	Flush
	Delete
)

func (v Verb) String() string { return [...]string{"add", "flush", "delete"}[min(v, Delete)] }

// Command is one step of a transaction. One of Table, Chain, Set, Object, Rule and Element is set: what it is about.
type Command struct {
	Verb    Verb
	Table   *nftables.Table   // the table itself, with its flags and comment alone
	Chain   *nftables.Chain   // without rules
	Set     *nftables.Set     // without elements
	Object  *nftables.Object  //
	Rule    *nftables.Rule    // which is appended to the chain In
	Element *nftables.Element // of the set In
	In      string
}

// String is the command as nft would have it, without the table.
func (c *Command) String() string {
	switch {
	case c.Table != nil:
		return c.Verb.String() + " table"
	case c.Chain != nil:
		return fmt.Sprintf("%s chain %s", c.Verb, c.Chain.Name)
	case c.Set != nil && c.Set.Map:
		return fmt.Sprintf("%s map %s", c.Verb, c.Set.Name)
	case c.Set != nil:
		return fmt.Sprintf("%s set %s", c.Verb, c.Set.Name)
	case c.Object != nil:
		return fmt.Sprintf("%s %s %s", c.Verb, c.Object.Kind, c.Object.Name)
	case c.Rule != nil:
		return fmt.Sprintf("%s rule %s %s", c.Verb, c.In, c.Rule)
	case c.Element != nil:
		return fmt.Sprintf("%s element %s { %s }", c.Verb, c.In, c.Element)
	}
	return "nothing"
}

// Transaction is what is done to one table: all of it, or nothing.
type Transaction struct {
	Family   nftables.Family
	Table    string
	Commands []Command
	// Live are the sets that are there before, which rules and elements may be about.
	Live []nftables.Set
	// Devices are the indices of the namespace's devices, by their names.
	Devices map[string]uint32
}

// Whole makes a table that is not there yet.
func Whole(t *nftables.Table) Transaction {
	tx := Transaction{Family: t.Family, Table: t.Name}
	add := func(c Command) { tx.Commands = append(tx.Commands, c) }
	add(Command{Table: t})
	for i := range t.Objects {
		add(Command{Object: &t.Objects[i]})
	}
	for i := range t.Sets {
		add(Command{Set: &t.Sets[i]})
	}
	for i := range t.Chains {
		add(Command{Chain: &t.Chains[i]})
	}
	for i := range t.Sets {
		for k := range t.Sets[i].Elements {
			add(Command{Element: &t.Sets[i].Elements[k], In: t.Sets[i].Name})
		}
	}
	for i := range t.Chains {
		for k := range t.Chains[i].Rules {
			add(Command{Rule: &t.Chains[i].Rules[k], In: t.Chains[i].Name})
		}
	}
	return tx
}

// Message is one message to the kernel, without netlink's header.
type Message struct {
	Kind    uint16 // the subsystem in the high byte
	Flags   uint16 // besides NLM_F_REQUEST
	Family  uint8
	Attrs   []byte
	Command int // the index of the command that it is of
}

const (
	subsystem = 10 << 8 // NFNL_SUBSYS_NFTABLES
	create    = 0x400   // NLM_F_CREATE
	appends   = 0x800   // NLM_F_APPEND
	dump      = 0x300   // NLM_F_DUMP
)
