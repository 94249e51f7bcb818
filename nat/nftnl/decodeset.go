package nftnl

import (
	"slices"
	"time"

	"natlab/nat/nftables"
)

// heldElement is an element as the kernel has it: one of a set of ranges may be where a range ends.
type heldElement struct {
	nftables.Element
	ends bool
}

// elements reads a message's elements.
func (r *decoder) elements(s *heldSet, all [][]byte) error {
	for _, b := range all {
		a, err := parse(b)
		if err != nil {
			return err
		}
		e, err := r.element(s, &a)
		if err != nil {
			return err
		}
		if e.ends {
			s.ended = append(s.ended, e.Key[0].Low)
		} else {
			s.Elements = append(s.Elements, e.Element)
		}
	}
	return nil
}

func (r *decoder) element(s *heldSet, a *fields) (e heldElement, err error) {
	e.ends = a.u32(elementFlags)&endsInterval != 0
	e.Timeout = time.Duration(a.u64(elementTimeout)) * time.Millisecond    //nolint:gosec // as the kernel has it
	e.Expires = time.Duration(a.u64(elementExpiration)) * time.Millisecond //nolint:gosec // as above
	if e.Timeout == s.Timeout {
		e.Timeout = 0 // it is the set's
	}
	e.Comment = textOf(noted(a[elementUserData], noteComment))
	e.Object = a.text(elementObject)
	if a.u32(elementFlags)&catchAll != 0 {
		e.Key = []nftables.Constant{{Type: s.Key[0], Any: true}}
	} else {
		low, err := dataOf(a[elementKey])
		if err != nil {
			return e, err
		}
		high := low
		if a.has(elementKeyEnd) {
			if high, err = dataOf(a[elementKeyEnd]); err != nil {
				return e, err
			}
		}
		e.Key = r.constants(s.Key, low, high, !s.Has("interval"))
	}
	if a.has(elementData) {
		if err := r.data(s, &e, a[elementData]); err != nil {
			return e, err
		}
	}
	var exprs [][]byte
	switch {
	case a.has(elementExpr):
		exprs = [][]byte{a[elementExpr]}
	case a.has(elementExpressions):
		if exprs, err = list(a[elementExpressions]); err != nil {
			return e, err
		}
	}
	for _, b := range exprs {
		st, err := statefulIn(b)
		if err != nil {
			return e, err
		}
		e.Statements = append(e.Statements, st)
	}
	return e, nil
}

// data are what a map has for a key.
func (r *decoder) data(s *heldSet, e *heldElement, b []byte) error {
	a, err := parse(b)
	switch {
	case err != nil:
		return err
	case a.has(dataVerdict):
		e.Verdict, err = verdictOf(a[dataVerdict])
		return err
	case len(s.Data) > 0:
		low, high := a[dataValue], a[dataValue]
		if s.DataInterval && len(low)%2 == 0 {
			low, high = low[:len(low)/2], low[len(low)/2:]
		}
		e.Data = r.constants(s.Data, low, high, true)
	}
	return nil
}

// dataOf are the bytes of a value.
func dataOf(b []byte) ([]byte, error) {
	a, err := parse(b)
	return a[dataValue], err
}

// constants are a concatenation's parts. Numbers that the machine has in an order of its own are in that one with host: what ranges are of is in
// the order of headers, in which alone shows what is greater.
func (r *decoder) constants(types []nftables.Type, low, high []byte, host bool) (out []nftables.Constant) {
	for _, t := range types {
		size := datatypes[t].bytes
		if t == nftables.Untold || size > len(low) || size > len(high) {
			return []nftables.Constant{{Type: nftables.Untold, Raw: raw(low)}}
		}
		out = append(out, r.constant(t, low[:size], high[:size], host && datatypes[t].host))
		if len(types) > 1 {
			size = padded(size)
		}
		low, high = low[min(size, len(low)):], high[min(size, len(high)):]
	}
	return out
}

// raw is a value of which no type is known.
func raw(b []byte) string {
	const digits = "0123456789abcdef"
	out := []byte("0x")
	for _, c := range b {
		out = append(out, digits[c>>4], digits[c&15])
	}
	return string(out)
}

// constant is a value by its type.
func (r *decoder) constant(t nftables.Type, low, high []byte, host bool) nftables.Constant {
	c := nftables.Constant{Type: t, Low: numberOf(low, host), High: numberOf(high, host)}
	if t == nftables.IfIndex {
		name, known := r.dump.Devices[uint32(c.Low.Low)] //nolint:gosec // an index has 32 bits
		if !known {
			return nftables.Constant{Type: t, Raw: raw(low)}
		}
		return nftables.Name(t, name)
	}
	return c
}

// finish puts the elements in nft's order, and of a set of ranges makes each from where it begins to where it ends.
func (s *heldSet) finish() {
	if !s.Has("interval") {
		nftables.SortElements(s.Elements)
		return
	}
	first := func(a, b nftables.Element) int {
		for i := range min(len(a.Key), len(b.Key)) {
			if c := compare(a.Key[i].Low, b.Key[i].Low); c != 0 {
				return c
			}
		}
		return 0
	}
	if len(s.Key) > 1 {
		return // in the kernel's order, as nft lists them
	}
	slices.SortFunc(s.ended, compare)
	anys := slices.DeleteFunc(slices.Clone(s.Elements), func(e nftables.Element) bool { return !e.Key[0].Any })
	s.Elements = slices.DeleteFunc(s.Elements, func(e nftables.Element) bool { return e.Key[0].Any })
	slices.SortStableFunc(s.Elements, first)
	for i := range s.Elements {
		k := &s.Elements[i].Key[0]
		ends := lastOf(datatypes[k.Type].bytes)
		if at, _ := slices.BinarySearchFunc(s.ended, k.Low, func(n, low nftables.Number) int {
			if compare(n, low) <= 0 {
				return -1
			}
			return 1
		}); at < len(s.ended) {
			ends = before(s.ended[at])
		}
		if i+1 < len(s.Elements) {
			if other := before(s.Elements[i+1].Key[0].Low); compare(other, ends) < 0 {
				ends = other
			}
		}
		k.High = ends
	}
	s.Elements = append(s.Elements, anys...)
}

// before is the number in front of one.
func before(n nftables.Number) nftables.Number {
	if n.Low == 0 {
		n.High--
	}
	n.Low--
	return n
}

// lastOf is the greatest number of so many bytes.
func lastOf(bytes int) nftables.Number {
	all := slices.Repeat([]byte{0xff}, bytes)
	return numberOf(all, false)
}
