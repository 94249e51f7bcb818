package nftnl

import (
	"fmt"
	"slices"

	"natlab/nat/nftables"
)

// encoder makes a transaction's messages.
type encoder struct {
	tx     *Transaction
	family uint8
	sets   map[string]*nftables.Set
	ids    uint32 // of anonymous sets, counted
	out    []Message
	at     int // the command that is being written

	// open is the message that takes further elements of openSet; -1: none.
	open    int
	openSet string
	list    attrs
}

// Encode is a transaction as messages. What cannot be written is named by the command it is in, with ErrUnwritten.
func Encode(tx Transaction) ([]Message, error) {
	e := &encoder{tx: &tx, family: families[string(tx.Family)], sets: make(map[string]*nftables.Set, len(tx.Live)), open: -1}
	for i := range tx.Live {
		e.sets[tx.Live[i].Name] = &tx.Live[i]
	}
	for i := range tx.Commands {
		c := &tx.Commands[i]
		e.at = i
		if c.Element == nil {
			e.close()
		}
		if err := e.command(c); err != nil {
			return nil, fmt.Errorf("table %s %s: %s: %w", tx.Family, tx.Table, c, err)
		}
	}
	e.close()
	return e.out, nil
}

func unwritten(what string, args ...any) error {
	return fmt.Errorf("%s: %w", fmt.Sprintf(what, args...), ErrUnwritten)
}

func (e *encoder) send(kind, flags uint16, a attrs) {
	e.out = append(e.out, Message{Kind: subsystem | kind, Flags: flags, Family: e.family, Attrs: a, Command: e.at})
}

func (e *encoder) command(c *Command) error {
	switch {
	case e.family == 0:
		return unwritten("family %q", e.tx.Family)
	case c.Table != nil:
		return e.table(c)
	case c.Chain != nil:
		return e.chain(c)
	case c.Set != nil:
		return e.set(c)
	case c.Object != nil:
		return e.object(c)
	case c.Rule != nil:
		return e.rule(c)
	case c.Element != nil:
		return e.element(c)
	}
	return nil
}

func (e *encoder) table(c *Command) error {
	a := attrs{}.text(tableName, e.tx.Table)
	switch c.Verb {
	case Delete:
		e.send(msgDelTable, 0, a)
	case Flush:
		e.send(msgDelRule, 0, attrs{}.text(ruleTable, e.tx.Table))
	case Add:
		flags := uint32(0)
		for _, f := range c.Table.Flags {
			if f != "dormant" {
				return unwritten("flag %s", f)
			}
			flags |= 1
		}
		e.send(msgNewTable, create, noteText(a.u32(tableFlags, flags), tableUserData, c.Table.Comment))
	}
	return nil
}

// hooks are the numbers of the hooks of families with addresses; ingress is a hook of devices.
var hooks = []string{"prerouting", "input", "forward", "output", "postrouting"}

func (e *encoder) chain(c *Command) error {
	a := attrs{}.text(chainTable, e.tx.Table).text(chainName, c.Chain.Name)
	if c.Verb == Flush {
		e.send(msgDelRule, 0, attrs{}.text(ruleTable, e.tx.Table).text(ruleChain, c.Chain.Name))
		return nil
	}
	if c.Verb == Delete {
		e.send(msgDelChain, 0, a)
		return nil
	}
	if b := c.Chain.Base; b != nil {
		hook := slices.Index(hooks, b.Hook)
		if hook < 0 || len(b.Devices) > 0 || !slices.Contains([]nftables.Family{nftables.IP, nftables.IP6, nftables.Inet}, e.tx.Family) {
			return unwritten("hook %s of family %s", b.Hook, e.tx.Family)
		}
		policy := uint32(codeAccept)
		if b.Drop {
			policy = codeDrop
		}
		a = a.nest(chainHook, attrs{}.u32(hookNumber, uint32(hook)).u32(hookPriority, uint32(int32(b.Priority)))) //nolint:gosec // signed
		a = a.u32(chainPolicy, policy).text(chainType, string(b.Type))
	}
	e.send(msgNewChain, create, noteText(a, chainUserData, c.Chain.Comment))
	return nil
}

// objectTypes are the numbers of kinds of objects.
var objectTypes = map[string]uint32{"counter": 1, "quota": 2, "limit": 4}

func (e *encoder) object(c *Command) error {
	a := attrs{}.text(objectTable, e.tx.Table).text(objectName, c.Object.Name)
	kind, known := objectTypes[c.Object.Kind]
	if !known {
		return unwritten("an object of kind %s", c.Object.Kind)
	}
	if a = a.u32(objectType, kind); c.Verb == Delete {
		e.send(msgDelObject, 0, a)
		return nil
	}
	st, comment, ok := c.Object.Statement()
	if !ok {
		return unwritten("%s %q", c.Object.Kind, c.Object.Lines)
	}
	_, data, err := stateful(st)
	if err != nil {
		return err
	}
	e.send(msgNewObject, create, noteText(a.nest(objectData, data), objectUserData, comment))
	return nil
}

func (e *encoder) rule(c *Command) error {
	if c.Verb != Add {
		return unwritten("a rule that is not appended")
	}
	w := ruleWriter{encoder: e}
	for _, s := range c.Rule.Statements {
		if err := w.statement(s); err != nil {
			return err
		}
	}
	a := attrs{}.text(ruleTable, e.tx.Table).text(ruleChain, c.In)
	if len(w.exprs) > maxAttrLen-headSize {
		return unwritten("a rule of %d bytes", len(w.exprs))
	}
	e.send(msgNewRule, create|appends, noteText(a.nest(ruleExpressions, w.exprs), ruleUserData, c.Rule.Comment))
	return nil
}
