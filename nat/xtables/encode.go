package xtables

import (
	"fmt"
	"slices"

	"natlab/nat"
)

// maxEntry is what the 16-bit next_offset of an entry can reach, on the alignment.
const maxEntry = 0xffff &^ (alignment - 1)

// Encode lays a table out as the kernel wants it from IPT_SO_SET_REPLACE. It refuses what cannot be encoded in that
// form: a name too long, a jump to a chain that is not there, an entry larger than 64 KiB.
func (t Table) Encode() (Blob, error) {
	l := layoutOf(t.Family)
	b := Blob{Family: t.Family, Name: t.Name}
	if len(t.Name) == 0 || len(t.Name) >= 32 {
		return Blob{}, fmt.Errorf("encode: table name %q: want 1 to 31 bytes", t.Name)
	}
	starts, err := t.starts(l)
	if err != nil {
		return Blob{}, fmt.Errorf("encode table %s: %w", t.Name, err)
	}
	w := writer{family: t.Family, layout: l, starts: starts}
	for _, c := range t.Chains {
		if err := w.chain(&b, c); err != nil {
			return Blob{}, fmt.Errorf("encode table %s: chain %s: %w", t.Name, c.Name, err)
		}
	}
	if err := w.head(errorTarget); err != nil {
		return Blob{}, fmt.Errorf("encode table %s: %w", t.Name, err)
	}
	b.Count, b.Bytes = w.count, w.out
	return b, nil
}

// Size is the entry's length in the blob.
func (e Entry) Size(f nat.Family) int {
	n := layoutOf(f).size + extHeader + len(e.Target.Data)
	for _, m := range e.Matches {
		n += extHeader + len(m.Data)
	}
	return n
}

// headSize is the length of the ERROR entry that begins a user chain and ends the table.
func (l layout) headSize() int { return l.size + extHeader + chainName + 2 }

// starts finds where each user chain's first rule will stand.
func (t Table) starts(l layout) (map[string]int, error) {
	starts, at := map[string]int{}, 0
	names := map[string]bool{}
	user := false
	for _, c := range t.Chains {
		if names[c.Name] {
			return nil, fmt.Errorf("chain %q twice", c.Name)
		}
		names[c.Name] = true
		if c.BuiltIn && user {
			return nil, fmt.Errorf("built-in chain %s behind a user's", c.Name)
		}
		if !c.BuiltIn {
			user = true
			at += l.headSize()
			starts[c.Name] = at
		}
		for _, e := range c.Entries {
			at += e.Size(t.Family)
		}
		at += c.Tail.Size(t.Family)
	}
	if int64(at) > 1<<31-1 {
		return nil, fmt.Errorf("%d bytes are more than an offset can hold", at)
	}
	return starts, nil
}

type writer struct {
	family nat.Family
	layout layout
	starts map[string]int
	out    []byte
	count  uint32
}

func (w *writer) chain(b *Blob, c Chain) error {
	if c.BuiltIn {
		if c.Name != c.Hook.String() || b.Valid>>c.Hook != 0 {
			return fmt.Errorf("hook %s is out of order or not the chain's own", c.Hook)
		}
		b.Valid |= 1 << c.Hook
		b.Entry[c.Hook] = uint32(len(w.out))
	} else if err := w.head(c.Name); err != nil {
		return err
	}
	for i, e := range c.Entries {
		if err := w.entry(e); err != nil {
			return fmt.Errorf("rule %d: %w", i+1, err)
		}
	}
	if c.BuiltIn {
		b.Underflow[c.Hook] = uint32(len(w.out))
	}
	return w.entry(c.Tail)
}

func (w *writer) head(name string) error {
	if name == "" || len(name) >= chainName {
		return fmt.Errorf("chain name %q: want 1 to %d bytes", name, chainName-1)
	}
	data := make([]byte, chainName+2)
	copy(data, name)
	return w.entry(Entry{Header: anyHeader(w.family), Target: Extension{Name: errorTarget, Data: data}})
}

func (w *writer) entry(e Entry) error {
	size := e.Size(w.family)
	if size > maxEntry {
		return fmt.Errorf("%d bytes are more than an entry can hold", size)
	}
	l, at := w.layout, len(w.out)
	target := size - extHeader - len(e.Target.Data)
	b := make([]byte, l.size, size)
	putHeader(b, l, e.Header)
	order.PutUint32(b[l.nfcache:], e.NFCache)
	order.PutUint16(b[l.nfcache+4:], uint16(target))
	order.PutUint16(b[l.nfcache+6:], uint16(size))
	order.PutUint32(b[l.nfcache+8:], e.Comefrom)
	order.PutUint64(b[l.counters:], e.Packets)
	order.PutUint64(b[l.counters+8:], e.Bytes)
	for _, ext := range append(slices.Clip(e.Matches), e.Target) {
		if len(ext.Name) >= extName || len(ext.Data)%alignment != 0 {
			return fmt.Errorf("extension %q: a name of %d bytes (want at most %d), a payload of %d (want a multiple of %d)",
				ext.Name, len(ext.Name), extName-1, len(ext.Data), alignment)
		}
		var head [extHeader]byte
		order.PutUint16(head[:], uint16(extHeader+len(ext.Data)))
		copy(head[2:], ext.Name)
		head[31] = ext.Revision
		b = append(append(b, head[:]...), ext.Data...)
	}
	if err := w.link(b[target+extHeader:], e, at+size); err != nil {
		return err
	}
	w.out = append(w.out, b...)
	w.count++
	return nil
}

// link writes where a jump leads; next is the offset of the entry behind this one.
func (w *writer) link(payload []byte, e Entry, next int) error {
	switch {
	case e.FallThrough:
		order.PutUint32(payload, uint32(next))
	case e.Jump != "":
		start, ok := w.starts[e.Jump]
		if !ok {
			return fmt.Errorf("a jump to %q, which is no chain of this table", e.Jump)
		}
		order.PutUint32(payload, uint32(start))
	}
	return nil
}

func putHeader(b []byte, l layout, h Header) {
	n := l.addr
	for i, a := range [][]byte{h.Src.AsSlice(), h.Dst.AsSlice(), h.SrcMask.AsSlice(), h.DstMask.AsSlice()} {
		copy(b[i*n:(i+1)*n], a)
	}
	for i, name := range [][16]byte{h.In, h.Out, h.InMask, h.OutMask} {
		copy(b[4*n+16*i:], name[:])
	}
	order.PutUint16(b[l.proto:], h.Proto)
	rest := b[l.proto+2:]
	if l.hasTOS {
		rest[0], rest = h.TOS, rest[1:]
	}
	rest[0], rest[1] = h.Flags, h.Inv
}

// Replace is the struct ipt_replace for IPT_SO_SET_REPLACE (64), followed by the entries. oldCount is the number of
// entries the kernel's table has now (Blob.Count of a fresh IPT_SO_GET_INFO), counters the address of a buffer of as
// many struct xt_counters (16 bytes each), into which the kernel writes the old counters.
func (b Blob) Replace(oldCount uint32, counters uint64) []byte {
	out := make([]byte, 32+4+4+4+20+20+4+8, 96+len(b.Bytes))
	copy(out, b.Name)
	for i, v := range []uint32{b.Valid, b.Count, uint32(len(b.Bytes))} {
		order.PutUint32(out[32+4*i:], v)
	}
	for h := range b.Entry {
		order.PutUint32(out[44+4*h:], b.Entry[h])
		order.PutUint32(out[64+4*h:], b.Underflow[h])
	}
	order.PutUint32(out[84:], oldCount)
	order.PutUint64(out[88:], counters)
	return append(out, b.Bytes...)
}

// ParseInfo reads struct ipt_getinfo, what IPT_SO_GET_INFO gives, and returns a Blob without its entries and the
// number of bytes they take.
func ParseInfo(f nat.Family, b []byte) (Blob, uint32, error) {
	if len(b) != InfoSize {
		return Blob{}, 0, fmt.Errorf("struct ipt_getinfo of %d bytes: want %d", len(b), InfoSize)
	}
	name, ok := cString(b[:32])
	if !ok {
		return Blob{}, 0, fmt.Errorf("struct ipt_getinfo: the table's name has no end")
	}
	out := Blob{Family: f, Name: name, Valid: order.Uint32(b[32:]), Count: order.Uint32(b[76:])}
	for h := range out.Entry {
		if out.Valid&(1<<h) == 0 {
			continue // what the kernel has there means nothing
		}
		out.Entry[h], out.Underflow[h] = order.Uint32(b[36+4*h:]), order.Uint32(b[56+4*h:])
	}
	return out, order.Uint32(b[80:]), nil
}

// InfoSize is the length of struct ipt_getinfo.
const InfoSize = 84
