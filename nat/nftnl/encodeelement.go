package nftnl

import (
	"fmt"
	"time"

	"natlab/nat/nftables"
)

// maxElements is how many bytes of elements a message takes: an attribute has 64 KiB.
const maxElements = 32 << 10

// element adds an element to the message of those before it, or begins one.
func (e *encoder) element(c *Command) error {
	s := e.sets[c.In]
	if s == nil {
		return unwritten("an element of set %s, which is not known", c.In)
	}
	if s.Has("interval") && len(s.Key) == 1 { // neighbours tell how many there are to write
		return e.intervalElement(c, s)
	}
	data, err := e.encodeElement(s, c.Element)
	if err != nil {
		return err
	}
	return e.addElement(c.Verb, c.In, 0, data)
}

// intervalElement writes a range of a set of ranges as the kernel has it: where it begins, and where it ends.
func (e *encoder) intervalElement(c *Command, s *nftables.Set) error {
	ends, err := e.ranges(s, []nftables.Element{*c.Element})
	for _, one := range ends {
		if err == nil {
			err = e.addElement(c.Verb, c.In, 0, one)
		}
	}
	return err
}

func (e *encoder) addElement(v Verb, set string, id uint32, data attrs) error {
	if v == Flush {
		return unwritten("an element that is flushed")
	}
	kind, flags := uint16(msgNewElement), uint16(create)
	if v == Delete {
		kind, flags = msgDelElement, 0
	}
	if e.open < 0 || e.openSet != set || e.out[e.open].Kind != subsystem|kind || len(e.list)+len(data) > maxElements {
		e.close()
		a := attrs{}.text(elementsTable, e.tx.Table).text(elementsSet, set)
		if id != 0 {
			a = a.u32(elementsSetID, id)
		}
		e.send(kind, flags, a)
		e.open, e.openSet = len(e.out)-1, set
	}
	e.list = e.list.nest(listElement, data)
	return nil
}

// close ends the message that takes elements.
func (e *encoder) close() {
	if e.open >= 0 {
		m := &e.out[e.open]
		m.Attrs = attrs(m.Attrs).nest(elementsList, e.list)
	}
	e.open, e.list = -1, nil
}

func (e *encoder) encodeElement(s *nftables.Set, el *nftables.Element) (a attrs, err error) {
	if len(el.Key) == 1 && el.Key[0].Any {
		return e.rest(a.u32(elementFlags, catchAll), s, el)
	}
	ranges := s.Has("interval")
	low, high, err := e.key(el.Key, ranges)
	if err != nil {
		return nil, err
	}
	a = a.nest(elementKey, attrs{}.put(dataValue, low))
	if ranges {
		a = a.nest(elementKeyEnd, attrs{}.put(dataValue, high))
	}
	return e.rest(a, s, el)
}

// rest is what an element has besides its key.
func (e *encoder) rest(a attrs, _ *nftables.Set, el *nftables.Element) (attrs, error) {
	switch {
	case el.Verdict != nil:
		a = a.nest(elementData, verdict(el.Verdict))
	case el.Object != "":
		a = a.text(elementObject, el.Object)
	case len(el.Data) > 0:
		data, _, err := e.key(el.Data, false)
		if err != nil {
			return nil, err
		}
		a = a.nest(elementData, attrs{}.put(dataValue, data))
	}
	if el.Timeout > 0 {
		a = a.u64(elementTimeout, uint64(el.Timeout/time.Millisecond)) //nolint:gosec // positive
	}
	if el.Expires > 0 {
		a = a.u64(elementExpiration, uint64(el.Expires/time.Millisecond)) //nolint:gosec // positive
	}
	if len(el.Statements) > 1 {
		return nil, unwritten("an element with %d statements", len(el.Statements))
	}
	for _, st := range el.Statements {
		expr, err := statefulExpr(st)
		if err != nil {
			return nil, err
		}
		a = a.nest(elementExpr, expr)
	}
	return noteText(a, elementUserData, el.Comment), nil
}

// key is the values of a concatenation, the least and the greatest ones. They differ only where ranges are allowed.
func (e *encoder) key(parts []nftables.Constant, ranges bool) (low, high []byte, err error) {
	for _, c := range parts {
		if !ranges && !c.Single() {
			return nil, nil, unwritten("%s in a set without ranges", c)
		}
		from, to, err := e.constant(c)
		if err != nil {
			return nil, nil, err
		}
		low, high = append(low, from...), append(high, to...)
		for len(parts) > 1 && len(low)%4 != 0 {
			low, high = append(low, 0), append(high, 0)
		}
	}
	return low, high, nil
}

// constant is a value's bytes by its type, the least and the greatest of a range.
func (e *encoder) constant(c nftables.Constant) (low, high []byte, err error) {
	d, ok := datatypes[c.Type]
	if !ok || c.Raw != "" || c.Any {
		return nil, nil, unwritten("%s of type %s", c, c.Type)
	}
	if c.Type == nftables.IfIndex {
		index, err := e.device(c)
		return bytesOf(index, 4, true), bytesOf(index, 4, true), err
	}
	return bytesOf(c.Low, d.bytes, d.host), bytesOf(c.High, d.bytes, d.host), nil
}

// device is the index of a device that a constant names.
func (e *encoder) device(c nftables.Constant) (nftables.Number, error) {
	name := textOf(bytesOf(c.Low, 16, false))
	index, there := e.tx.Devices[name]
	if !there {
		return nftables.Number{}, fmt.Errorf("device %q: interface does not exist", name)
	}
	return nftables.Number{Low: uint64(index)}, nil
}

// ranges are the elements of a set of ranges as the kernel has them: where each begins, and the first value behind it, unless that is where the
// next one begins or there is none.
func (e *encoder) ranges(s *nftables.Set, elements []nftables.Element) (out []attrs, err error) {
	for i := range elements {
		el := &elements[i]
		if el.Key[0].Any {
			one, err := e.rest(attrs{}.u32(elementFlags, catchAll), s, el)
			if err != nil {
				return nil, err
			}
			out = append(out, one)
			continue
		}
		d := datatypes[el.Key[0].Type]
		if el.Key[0].Type == nftables.IfName || el.Key[0].Raw != "" || d.bytes == 0 || d.host {
			return nil, unwritten("%s of type %s in a set of ranges", el.Key[0], el.Key[0].Type)
		}
		first, err := e.rest(attrs{}.nest(elementKey, attrs{}.put(dataValue, bytesOf(el.Key[0].Low, d.bytes, d.host))), s, el)
		if err != nil {
			return nil, err
		}
		out = append(out, first)
		behind, is := next(el.Key[0].High, d.bytes)
		if !is || i+1 < len(elements) && !elements[i+1].Key[0].Any && elements[i+1].Key[0].Low == behind {
			continue
		}
		end := attrs{}.nest(elementKey, attrs{}.put(dataValue, bytesOf(behind, d.bytes, d.host)))
		out = append(out, end.u32(elementFlags, endsInterval))
	}
	return out, nil
}

// next is the number behind one of so many bytes; false for the last.
func next(n nftables.Number, bytes int) (nftables.Number, bool) {
	n.Low++
	if n.Low == 0 {
		n.High++
	}
	switch {
	case bytes == 16:
		return n, n != nftables.Number{}
	case bytes >= 8:
		return n, n.High == 0
	}
	return n, n.High == 0 && n.Low>>(8*bytes) == 0
}
