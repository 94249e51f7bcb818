package xtables

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"natlab/nat"
	"natlab/nat/xt"
)

// NFTChain is a chain of an nf_tables table that iptables-nft made.
type NFTChain struct {
	Name           string
	BaseChain      bool
	Hook           nat.Hook // of a base chain
	Policy         int32    // VerdictAccept or VerdictDrop, of a base chain
	Packets, Bytes uint64   // of a base chain's policy
}

// NFTRule is a rule as the kernel hands it out: NFTA_RULE_CHAIN and the bytes of NFTA_RULE_EXPRESSIONS.
type NFTRule struct {
	Chain       string
	Expressions []byte
}

// ForeignError is a rule in one of iptables-nft's tables that iptables-nft does not write.
type ForeignError struct {
	Table, Chain string
	Rule         int // from 1
	Err          error
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("table %s: chain %s: rule %d: %v", e.Table, e.Chain, e.Rule, e.Err)
}

func (e *ForeignError) Unwrap() error { return e.Err }

// DecodeNFT turns a table of iptables-nft into the entries that iptables-legacy would have for the same rules: xt
// matches and targets with their revisions are taken as they are, native expressions become the matches that
// iptables-nft prints for them. A rule with an expression that natlab does not know is a *ForeignError. Chains come in the order given, the built-in ones first.
func DecodeNFT(family nat.Family, name string, chains []NFTChain, rules []NFTRule) (Table, error) {
	t := Table{Family: family, Name: name}
	at := map[string]int{}
	for _, base := range []bool{true, false} {
		for _, c := range chains {
			if c.BaseChain != base {
				continue
			}
			verdict := VerdictReturn
			if base {
				verdict = c.Policy
			}
			out := Chain{Name: c.Name, Hook: c.Hook, BuiltIn: base, Tail: verdictEntry(family, verdict)}
			out.Tail.Packets, out.Tail.Bytes = c.Packets, c.Bytes
			at[c.Name] = len(t.Chains)
			t.Chains = append(t.Chains, out)
		}
	}
	for i, r := range rules {
		c, ok := at[r.Chain]
		if !ok {
			return Table{}, fmt.Errorf("table %s: rule %d: its chain %q is not there", name, i+1, r.Chain)
		}
		d := nftRule{family: family, chains: at, regs: map[uint32]register{}}
		e, err := d.decode(r.Expressions)
		if err != nil {
			return Table{}, &ForeignError{name, r.Chain, len(t.Chains[c].Entries) + 1, err}
		}
		t.Chains[c].Entries = append(t.Chains[c].Entries, e)
	}
	return t.sortedHooks(), nil
}

// sortedHooks puts the built-in chains in the order of their hooks.
func (t Table) sortedHooks() Table {
	for i := range t.Chains {
		for j := i; j > 0 && t.Chains[j].BuiltIn && t.Chains[j].Hook < t.Chains[j-1].Hook; j-- {
			t.Chains[j], t.Chains[j-1] = t.Chains[j-1], t.Chains[j]
		}
	}
	return t
}

// Numbers of linux/netfilter/nf_tables.h.
const (
	nftaListElem = 1 // NFTA_LIST_ELEM
	nftaExprName = 1 // NFTA_EXPR_NAME
	nftaExprData = 2 // NFTA_EXPR_DATA

	nftaDataValue   = 1 // NFTA_DATA_VALUE
	nftaDataVerdict = 2 // NFTA_DATA_VERDICT
	nftaVerdictCode = 1
	nftaVerdictName = 2 // NFTA_VERDICT_CHAIN

	nftPayloadNetwork   = 1 // NFT_PAYLOAD_NETWORK_HEADER
	nftPayloadTransport = 2 // NFT_PAYLOAD_TRANSPORT_HEADER

	nftMetaMark    = 3  // NFT_META_MARK
	nftMetaIIFName = 6  // NFT_META_IIFNAME
	nftMetaOIFName = 7  // NFT_META_OIFNAME
	nftMetaTrace   = 12 // NFT_META_NFTRACE
	nftMetaL4Proto = 16 // NFT_META_L4PROTO

	nftJump   = -3 // NFT_JUMP
	nftGoto   = -4 // NFT_GOTO
	nftReturn = -5 // NFT_RETURN
	nfDrop    = 0  // NF_DROP
	nfAccept  = 1  // NF_ACCEPT
)

// nlattrs walks netlink attributes; f gets each one's type without its flags.
func nlattrs(b []byte, f func(kind uint16, data []byte) error) error {
	for len(b) > 0 {
		if len(b) < 4 {
			return fmt.Errorf("%d bytes are no netlink attribute", len(b))
		}
		n := int(order.Uint16(b))
		if n < 4 || n > len(b) {
			return fmt.Errorf("a netlink attribute of %d bytes, %d are left", n, len(b))
		}
		if err := f(order.Uint16(b[2:])&0x3fff, b[4:n]); err != nil {
			return err
		}
		b = b[min((n+3)&^3, len(b)):]
	}
	return nil
}

// attrs are the attributes of one expression, by type.
type attrs map[uint16][]byte

func parseAttrs(b []byte) (attrs, error) {
	out := attrs{}
	err := nlattrs(b, func(kind uint16, data []byte) error {
		out[kind] = data
		return nil
	})
	return out, err
}

// u32 is a number in network order, 0 where it is not there.
func (a attrs) u32(kind uint16) uint32 {
	if b := a[kind]; len(b) >= 4 {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (a attrs) u64(kind uint16) uint64 {
	if b := a[kind]; len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// value is the bytes of a nested NFTA_DATA_VALUE.
func (a attrs) value(kind uint16) []byte {
	inner, err := parseAttrs(a[kind])
	if err != nil {
		return nil
	}
	return inner[nftaDataValue]
}

// register is what a register holds: where the bytes came from, and the mask laid over them since.
type register struct {
	meta    bool
	key     uint32 // of meta
	base    uint32 // of a payload
	offset  uint32
	length  int
	mask    []byte // nil for all ones
	setting []byte // an immediate value
}

// nftRule decodes one rule.
type nftRule struct {
	family nat.Family
	chains map[string]int
	regs   map[uint32]register
	entry  Entry

	ports   *xt.Ports // that native expressions ask for; nil: none so far
	portsAt int       // its place in entry.Matches
}

func (d *nftRule) decode(b []byte) (Entry, error) {
	d.entry = Entry{Header: anyHeader(d.family), FallThrough: true, Target: Extension{Data: make([]byte, alignment)}}
	err := nlattrs(b, func(kind uint16, data []byte) error {
		if kind != nftaListElem {
			return fmt.Errorf("attribute %d among expressions", kind)
		}
		elem, err := parseAttrs(data)
		if err != nil {
			return err
		}
		inner, err := parseAttrs(elem[nftaExprData])
		if err != nil {
			return err
		}
		return d.expression(text(elem[nftaExprName]), inner)
	})
	if err == nil {
		err = d.layPorts()
	}
	if err != nil {
		return Entry{}, err
	}
	return d.entry, nil
}

func (d *nftRule) expression(name string, a attrs) error {
	switch name {
	case "counter": // NFTA_COUNTER_BYTES 1, PACKETS 2
		d.entry.Bytes, d.entry.Packets = a.u64(1), a.u64(2)
		return nil
	case "meta":
		return d.meta(a)
	case "payload": // NFTA_PAYLOAD_DREG 1, BASE 2, OFFSET 3, LEN 4
		d.regs[reg(a.u32(1))] = register{base: a.u32(2), offset: a.u32(3), length: int(a.u32(4))}
		return nil
	case "bitwise": // NFTA_BITWISE_SREG 1, DREG 2, LEN 3, MASK 4, XOR 5
		l := d.regs[reg(a.u32(1))]
		l.mask = bytes.Clone(a.value(4))
		d.regs[reg(a.u32(2))] = l
		return nil
	case "cmp": // NFTA_CMP_SREG 1, OP 2, DATA 3
		return d.compare(d.regs[reg(a.u32(1))], cmpOp(a.u32(2)), a.value(3))
	case "range": // NFTA_RANGE_SREG 1, OP 2, FROM_DATA 3, TO_DATA 4
		return d.between(d.regs[reg(a.u32(1))], a.u32(2) == 1, a.value(3), a.value(4))
	case "immediate": // NFTA_IMMEDIATE_DREG 1, DATA 2
		return d.immediate(a)
	case "match": // NFTA_MATCH_NAME 1, REV 2, INFO 3
		d.entry.Matches = append(d.entry.Matches, extensionOf(a))
		return nil
	case "target":
		d.entry.Target, d.entry.FallThrough = extensionOf(a), false
		return nil
	case "limit":
		return d.limit(a)
	case "log":
		return d.log(a)
	}
	return fmt.Errorf("unsupported nf_tables expression %q", name)
}

// reg counts registers of 4 bytes and of 16 alike: NFT_REG_1 is NFT_REG32_00.
func reg(n uint32) uint32 {
	if n >= 1 && n <= 4 {
		return 8 + 4*(n-1)
	}
	return n
}

// extensionOf is an xt match or target; the kernel pads its payload as x_tables does.
func extensionOf(a attrs) Extension {
	data := make([]byte, padded(len(a[3])))
	copy(data, a[3])
	return Extension{Name: text(a[1]), Revision: uint8(a.u32(2)), Data: data}
}

func (d *nftRule) meta(a attrs) error { // NFTA_META_DREG 1, KEY 2, SREG 3
	if _, set := a[3]; !set {
		d.regs[reg(a.u32(1))] = register{meta: true, key: a.u32(2)}
		return nil
	}
	if a.u32(2) != nftMetaTrace {
		return fmt.Errorf("unsupported nf_tables expression \"meta\": it sets key %d", a.u32(2))
	}
	d.entry.Target, d.entry.FallThrough = Extension{Name: "TRACE", Data: []byte{}}, false
	return nil
}

func (d *nftRule) immediate(a attrs) error {
	if v := a.value(2); v != nil {
		d.regs[reg(a.u32(1))] = register{setting: v}
		return nil
	}
	data, err := parseAttrs(a[2])
	if err != nil {
		return err
	}
	v, err := parseAttrs(data[nftaDataVerdict])
	if err != nil {
		return err
	}
	d.entry.FallThrough = false
	code := int32(v.u32(nftaVerdictCode))
	switch code {
	case nfDrop:
		d.entry.Target = verdictEntry(d.family, VerdictDrop).Target
	case nfAccept:
		d.entry.Target = verdictEntry(d.family, VerdictAccept).Target
	case nftReturn:
		d.entry.Target = verdictEntry(d.family, VerdictReturn).Target
	case nftJump, nftGoto:
		d.entry.Jump = text(v[nftaVerdictName])
		if _, ok := d.chains[d.entry.Jump]; !ok {
			return fmt.Errorf("a jump to %q, which is no chain of this table", d.entry.Jump)
		}
		if code == nftGoto {
			d.entry.Header.Flags |= layoutOf(d.family).gotoFlag
		}
	default:
		return fmt.Errorf("verdict %d", code)
	}
	return nil
}
