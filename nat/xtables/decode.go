package xtables

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"natlab/nat"
)

var order = binary.NativeEndian

const (
	extHeader = 32 // struct xt_entry_match and xt_entry_target: size u16, name [29], revision u8
	extName   = 29 // XT_EXTENSION_MAXNAMELEN
	alignment = 8  // XT_ALIGN
	chainName = 30 // XT_FUNCTION_MAXNAMELEN: the error target's payload
)

// DecodeError names where in a blob something cannot be.
type DecodeError struct {
	Table  string
	Offset int // from the start of Blob.Bytes
	What   string
}

func (e *DecodeError) Error() string {
	return fmt.Sprintf("table %s: offset %#x: %s", e.Table, e.Offset, e.What)
}

// decoder walks one blob.
type decoder struct {
	blob    Blob
	layout  layout
	starts  map[int]int    // offset of an entry -> its index
	chainAt map[int]string // offset of a chain's first rule -> its name
}

// flat is an entry before the chains are known.
type flat struct {
	entry   Entry
	offset  int
	verdict int32 // of a standard target
	name    string
}

// Decode takes a blob apart. Whatever the bytes are, it returns a table or an error that names an offset.
func Decode(b Blob) (Table, error) {
	d := decoder{blob: b, layout: layoutOf(b.Family), starts: map[int]int{}, chainAt: map[int]string{}}
	flats, err := d.entries()
	if err != nil {
		return Table{}, err
	}
	chains, err := d.chains(flats)
	if err != nil {
		return Table{}, err
	}
	return Table{Family: b.Family, Name: b.Name, Chains: chains}, nil
}

func (d *decoder) errorf(offset int, format string, args ...any) error {
	return &DecodeError{Table: d.blob.Name, Offset: offset, What: fmt.Sprintf(format, args...)}
}

// entries cuts the blob into entries without looking at what they call.
func (d *decoder) entries() ([]flat, error) {
	var out []flat
	for at := 0; at < len(d.blob.Bytes); {
		f, next, err := d.entry(at)
		if err != nil {
			return nil, err
		}
		d.starts[at] = len(out)
		out = append(out, f)
		at += next
	}
	if uint64(len(out)) != uint64(d.blob.Count) {
		return nil, d.errorf(len(d.blob.Bytes), "%d entries, the kernel counts %d", len(out), d.blob.Count)
	}
	if len(out) == 0 || out[len(out)-1].name != errorTarget {
		return nil, d.errorf(len(d.blob.Bytes), "no closing ERROR entry")
	}
	return out, nil
}

func (d *decoder) entry(at int) (flat, int, error) {
	b := d.blob.Bytes[at:]
	l := d.layout
	if len(b) < l.size+extHeader {
		return flat{}, 0, d.errorf(at, "%d bytes left, an entry needs %d", len(b), l.size+extHeader)
	}
	target, next := int(order.Uint16(b[l.nfcache+4:])), int(order.Uint16(b[l.nfcache+6:]))
	if target < l.size || next < target+extHeader || next > len(b) || target%alignment != 0 || next%alignment != 0 {
		return flat{}, 0, d.errorf(at, "target_offset %d, next_offset %d, %d bytes left", target, next, len(b))
	}
	e := Entry{
		Header:  d.header(b),
		NFCache: order.Uint32(b[l.nfcache:]), Comefrom: order.Uint32(b[l.nfcache+8:]),
		Packets: order.Uint64(b[l.counters:]), Bytes: order.Uint64(b[l.counters+8:]),
	}
	for m := l.size; m < target; {
		ext, size, err := d.extension(at+m, b[m:target])
		if err != nil {
			return flat{}, 0, err
		}
		e.Matches = append(e.Matches, ext)
		m += size
	}
	ext, size, err := d.extension(at+target, b[target:next])
	if err != nil {
		return flat{}, 0, err
	}
	if target+size != next {
		return flat{}, 0, d.errorf(at+target, "target %q of %d bytes, the entry has %d for it", ext.Name, size, next-target)
	}
	e.Target = ext
	f := flat{entry: e, offset: at}
	if err := d.special(&f, at+target); err != nil {
		return flat{}, 0, err
	}
	return f, next, nil
}

func (d *decoder) header(b []byte) Header {
	l := d.layout
	n := l.addr
	h := Header{Src: l.addrFromByte(b[:n]), Dst: l.addrFromByte(b[n : 2*n]), SrcMask: l.addrFromByte(b[2*n : 3*n]), DstMask: l.addrFromByte(b[3*n : 4*n])}
	for i, dst := range []*[16]byte{&h.In, &h.Out, &h.InMask, &h.OutMask} {
		copy(dst[:], b[4*n+16*i:])
	}
	h.Proto = order.Uint16(b[l.proto:])
	rest := b[l.proto+2:]
	if l.hasTOS {
		h.TOS, rest = rest[0], rest[1:]
	}
	h.Flags, h.Inv = rest[0], rest[1]
	return h
}

// extension reads the match or target at the beginning of b, which is all the room it may take.
func (d *decoder) extension(at int, b []byte) (Extension, int, error) {
	if len(b) < extHeader {
		return Extension{}, 0, d.errorf(at, "%d bytes left for a match or target, its header needs %d", len(b), extHeader)
	}
	size := int(order.Uint16(b))
	if size < extHeader || size > len(b) || size%alignment != 0 {
		return Extension{}, 0, d.errorf(at, "match or target of %d bytes in a room of %d", size, len(b))
	}
	name, ok := cString(b[2 : 2+extName])
	if !ok {
		return Extension{}, 0, d.errorf(at+2, "the name of a match or target has no end, or bytes behind it")
	}
	return Extension{Name: name, Revision: b[31], Data: bytes.Clone(b[extHeader:size])}, size, nil
}

// special reads the payload of the two targets of x_tables itself.
func (d *decoder) special(f *flat, at int) error {
	t := &f.entry.Target
	switch t.Name {
	case standardTarget:
		if len(t.Data) != alignment {
			return d.errorf(at, "a standard target with %d bytes", len(t.Data))
		}
		f.verdict = int32(order.Uint32(t.Data))
	case errorTarget:
		if len(t.Data) != chainName+2 {
			return d.errorf(at, "an ERROR target with %d bytes", len(t.Data))
		}
		name, ok := cString(t.Data[:chainName])
		if !ok || name == "" {
			return d.errorf(at, "an ERROR target without a clean name")
		}
		f.name = name
	}
	return nil
}

// chains groups the entries.
func (d *decoder) chains(flats []flat) ([]Chain, error) {
	spans, err := d.spans(flats)
	if err != nil {
		return nil, err
	}
	chains := make([]Chain, 0, len(spans))
	for _, s := range spans {
		for i := s.first; i <= s.tail; i++ {
			if err := d.link(flats, i); err != nil {
				return nil, err
			}
		}
		c := s.chain
		for _, f := range flats[s.first:s.tail] {
			c.Entries = append(c.Entries, f.entry)
		}
		c.Tail = flats[s.tail].entry
		chains = append(chains, c)
	}
	return chains, nil
}

// span is a chain as indices of its first rule and its tail.
type span struct {
	chain       Chain
	first, tail int
}

func (d *decoder) spans(flats []flat) ([]span, error) {
	var out []span
	at := 0
	for _, h := range nat.Hooks() {
		if d.blob.Valid&(1<<h) == 0 {
			continue
		}
		first, ok1 := d.starts[int(d.blob.Entry[h])]
		tail, ok2 := d.starts[int(d.blob.Underflow[h])]
		if !ok1 || !ok2 || first != at || tail < first {
			return nil, d.errorf(int(d.blob.Entry[h]), "chain %s: its entry point or its policy %#x is not where an entry is due", h, d.blob.Underflow[h])
		}
		out = append(out, span{chain: Chain{Name: h.String(), Hook: h, BuiltIn: true}, first: first, tail: tail})
		at = tail + 1
	}
	seen := map[string]bool{}
	for _, s := range out {
		seen[s.chain.Name] = true
	}
	for end := len(flats) - 1; at < end; {
		head := flats[at]
		if head.name == "" {
			return nil, d.errorf(head.offset, "an entry that belongs to no chain")
		}
		if seen[head.name] {
			return nil, d.errorf(head.offset, "a second chain %q", head.name)
		}
		if err := d.plainHead(head); err != nil {
			return nil, err
		}
		seen[head.name] = true
		first := at + 1
		for at++; at < end && flats[at].name == ""; at++ {
		}
		if at == first {
			return nil, d.errorf(head.offset, "chain %q has no closing RETURN", head.name)
		}
		d.chainAt[flats[first].offset] = head.name
		out = append(out, span{chain: Chain{Name: head.name}, first: first, tail: at - 1})
	}
	return out, d.tails(flats, out)
}

// plainHead holds for what Encode writes at the head of a user chain; anything else would be lost.
func (d *decoder) plainHead(f flat) error {
	e := f.entry
	if e.Header != anyHeader(d.blob.Family) || len(e.Matches) != 0 || e.NFCache != 0 || e.Comefrom != 0 || e.Packets != 0 || e.Bytes != 0 || e.Target.Revision != 0 {
		return d.errorf(f.offset, "the head of chain %q carries something", f.name)
	}
	return nil
}

// tails demands that each chain ends as x_tables wants it: unconditionally, with a verdict.
func (d *decoder) tails(flats []flat, spans []span) error {
	for _, s := range spans {
		f := flats[s.tail]
		if f.entry.Target.Name != standardTarget || f.verdict >= 0 || len(f.entry.Matches) != 0 || f.entry.Header != anyHeader(d.blob.Family) {
			return d.errorf(f.offset, "chain %q does not end in an unconditional verdict", s.chain.Name)
		}
		for _, r := range flats[s.first:s.tail] {
			if r.name != "" {
				return d.errorf(r.offset, "chain %q begins inside %q", r.name, s.chain.Name)
			}
		}
	}
	last := flats[len(flats)-1]
	return d.plainHead(last)
}

// link turns the offset of a standard target into the name of the chain it leads to.
func (d *decoder) link(flats []flat, i int) error {
	f := &flats[i]
	if f.entry.Target.Name != standardTarget || f.verdict < 0 {
		return nil
	}
	if chain, ok := d.chainAt[int(f.verdict)]; ok {
		f.entry.Jump = chain
	} else if i+1 < len(flats) && flats[i+1].offset == int(f.verdict) {
		f.entry.FallThrough = true
	} else {
		return d.errorf(f.offset, "a jump to %#x, where no chain begins", f.verdict)
	}
	clear(f.entry.Target.Data[:4])
	return nil
}

// cString reads a zero-terminated string that is followed by zeros only.
func cString(b []byte) (string, bool) {
	i := bytes.IndexByte(b, 0)
	if i < 0 || len(bytes.Trim(b[i:], "\x00")) != 0 {
		return "", false
	}
	return string(b[:i]), true
}
