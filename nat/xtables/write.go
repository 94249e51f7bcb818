package xtables

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// Writer turns rules into entries, with the revisions that one version of iptables would choose.
type Writer struct {
	Family  nat.Family
	Version xt.Version
	Sets    map[string]uint16 // ipset name -> number
}

// ErrNotEncodable is a match, target or option that natlab has no bytes for.
var ErrNotEncodable = errors.New("natlab has no bytes for it")

// Tables turns rules into entries. Every table is complete: the built-in chains are there and stand first, the others by
// name.
func (w Writer) Tables(rs iptables.Ruleset) ([]Table, error) {
	tables, err := w.tables(rs)
	if err != nil {
		return nil, fmt.Errorf("encode rules: %w", err)
	}
	for i := range tables {
		tables[i] = tables[i].Complete()
	}
	return tables, nil
}

// ReadSave reads the text of an iptables-save into tables, chains in the order of the text.
func (w Writer) ReadSave(text string) ([]Table, error) {
	rs, err := iptables.ParseString(text, w.Family)
	if err != nil {
		return nil, err
	}
	return w.tables(rs)
}

func (w Writer) tables(rs iptables.Ruleset) ([]Table, error) {
	w.Family = rs.Family
	var out []Table
	for _, t := range rs.Tables {
		table := Table{Family: w.Family, Name: t.Name}
		for _, c := range t.Chains {
			chain, err := w.chain(t.Name, c)
			if err != nil {
				return nil, err
			}
			table.Chains = append(table.Chains, chain)
		}
		out = append(out, table)
	}
	return out, nil
}

func (w Writer) chain(table string, c iptables.Chain) (Chain, error) {
	out := Chain{Name: c.Name, Tail: verdictEntry(w.Family, VerdictReturn)}
	if c.BuiltIn() {
		hook, err := nat.ParseHook(c.Name)
		if err != nil {
			return Chain{}, fmt.Errorf("table %s: %w", table, err)
		}
		verdict := VerdictAccept
		if c.Policy == "DROP" {
			verdict = VerdictDrop
		}
		out.BuiltIn, out.Hook, out.Tail = true, hook, verdictEntry(w.Family, verdict)
		out.Tail.Packets, out.Tail.Bytes = c.Packets, c.Bytes
	}
	for i, r := range c.Rules {
		e, err := w.entry(r)
		if err != nil {
			return Chain{}, fmt.Errorf("table %s: chain %s: rule %d: %w", table, c.Name, i+1, err)
		}
		out.Entries = append(out.Entries, e)
	}
	return out, nil
}

// entry is one rule.
func (w Writer) entry(r iptables.Rule) (Entry, error) {
	e := verdictEntry(w.Family, 0)
	e.Packets, e.Bytes, e.FallThrough = r.Packets, r.Bytes, r.Target == nil
	for _, m := range r.Matches {
		if ok, err := e.Header.ask(m, w.Family); ok || err != nil {
			if err != nil {
				return Entry{}, err
			}
			continue
		}
		x, err := w.extension(m, xt.MatchKind)
		if err != nil {
			return Entry{}, err
		}
		e.Matches = append(e.Matches, x)
	}
	var err error
	switch t := r.Target.(type) {
	case nil:
	case xt.Accept:
		e.Target = verdictEntry(w.Family, VerdictAccept).Target
	case xt.Drop:
		e.Target = verdictEntry(w.Family, VerdictDrop).Target
	case xt.Return:
		e.Target = verdictEntry(w.Family, VerdictReturn).Target
	case xt.Queue:
		e.Target = verdictEntry(w.Family, VerdictQueue).Target
	case xt.Jump:
		e.Jump = t.Chain
	case xt.Goto:
		e.Jump = t.Chain
		e.Header.Flags |= layoutOf(w.Family).gotoFlag
	default:
		e.Target, err = w.extension(t, xt.TargetKind)
	}
	return e, err
}

// ask puts a condition into the header; false where it belongs to an extension.
func (h *Header) ask(m xt.Match, f nat.Family) (bool, error) {
	inverted := func(not bool, bit uint8) { h.Inv |= flagIf(not, bit) }
	switch m := m.(type) {
	case iptables.Source:
		h.Src, h.SrcMask = m.Prefix.Addr(), maskOf(m.Prefix)
		inverted(m.Not, InvSrc)
	case iptables.Destination:
		h.Dst, h.DstMask = m.Prefix.Addr(), maskOf(m.Prefix)
		inverted(m.Not, InvDst)
	case iptables.MaskedAddress:
		if m.Destination {
			h.Dst, h.DstMask = m.Address.Addr, m.Address.Mask
			inverted(m.Not, InvDst)
		} else {
			h.Src, h.SrcMask = m.Address.Addr, m.Address.Mask
			inverted(m.Not, InvSrc)
		}
	case iptables.InInterface:
		inverted(m.Not, InvIn)
		return true, putDevice(m.Device, h.In[:], h.InMask[:])
	case iptables.OutInterface:
		inverted(m.Not, InvOut)
		return true, putDevice(m.Device, h.Out[:], h.OutMask[:])
	case iptables.Protocol:
		p, ok := nat.ParseRuleProto(m.Protocol)
		if !ok {
			return true, fmt.Errorf("protocol %q is not known", m.Protocol)
		}
		h.Proto = uint16(p)
		if f == nat.IPv6 && p != 0 {
			h.Flags |= FlagProto
		}
		inverted(m.Not, InvProto)
	case iptables.Fragment:
		if f == nat.IPv6 {
			return true, errors.New("-f is of IPv4 only")
		}
		h.Flags |= FlagFragment
		inverted(m.Not, InvFragment)
	default:
		return false, nil
	}
	return true, nil
}

// maskOf is a prefix's mask.
func maskOf(p netip.Prefix) netip.Addr {
	b := make([]byte, p.Addr().BitLen()/8)
	xt.PutMask(b, p.Bits())
	m, _ := netip.AddrFromSlice(b) // of 4 or 16 bytes
	return m
}

// putDevice writes a device pattern and its mask, as xtables_parse_interface does: the "+" stays in the name.
func putDevice(s string, name, mask []byte) error {
	if s == "" || len(s) >= len(name) {
		return fmt.Errorf("device %q: want 1 to %d bytes", s, len(name)-1)
	}
	copy(name, s)
	full := len(s) + 1 // the closing zero counts, too
	if strings.HasSuffix(s, "+") {
		full = len(s) - 1
	}
	for i := range full {
		mask[i] = 0xff
	}
	return nil
}

// extension is a match's or target's struct in the revision that the version writes.
func (w Writer) extension(v xt.Value, kind xt.Kind) (Extension, error) {
	if options, raw := rawOptions(v); raw {
		if e, ok := rawExtension(v.Name(), strings.Fields(options)); ok {
			return e, nil
		}
		return Extension{}, fmt.Errorf("%s: %w", v.Name(), ErrNotEncodable)
	}
	x, ok := xt.Find(v.Name(), kind, w.Family)
	if !ok {
		return Extension{}, fmt.Errorf("%s: %w", v.Name(), ErrNotEncodable)
	}
	l, ok := x.Written(w.Family, w.Version)
	if !ok {
		return Extension{}, fmt.Errorf("%s: %w", v.Name(), ErrNotEncodable)
	}
	d := make([]byte, xt.Padded(l.Size))
	if err := l.Encode(v, d[:l.Size], &xt.Env{Family: w.Family, SetIndex: w.Sets}); err != nil {
		return Extension{}, fmt.Errorf("%s: %w", v.Name(), err)
	}
	return Extension{Name: x.Name, Revision: l.Revision, Data: d}, nil
}

// rawOptions are the options of an extension without a row.
func rawOptions(v xt.Value) (options string, raw bool) {
	switch v := v.(type) {
	case xt.RawMatch:
		return v.Options, true
	case xt.RawTarget:
		return v.Options, true
	}
	return "", false
}

// rawOption carries an extension that has no words through text: "--raw REVISION:HEX".
const rawOption = "--raw"

// Raw is an extension by its bytes, as rules carry one that no option prints: "--raw REVISION:HEX".
func (e Extension) Raw() string {
	return fmt.Sprintf("%s %d:%s", rawOption, e.Revision, hex.EncodeToString(e.Data))
}

// rawExtension reads what Raw printed.
func rawExtension(name string, words []string) (Extension, bool) {
	if len(words) != 2 || words[0] != rawOption {
		return Extension{}, false
	}
	rev, data, ok := strings.Cut(words[1], ":")
	n, err1 := strconv.ParseUint(rev, 10, 8)
	b, err2 := hex.DecodeString(data)
	if !ok || err1 != nil || err2 != nil || len(b)%alignment != 0 {
		return Extension{}, false
	}
	return Extension{Name: name, Revision: uint8(n), Data: b}, true
}

// verdictEntry is a rule that asks nothing and ends with a verdict.
func verdictEntry(f nat.Family, v int32) Entry {
	e := Entry{Header: anyHeader(f), Target: Extension{Data: make([]byte, alignment)}}
	order.PutUint32(e.Target.Data, uint32(v))
	return e
}
