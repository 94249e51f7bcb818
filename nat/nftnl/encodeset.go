package nftnl

import (
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/nftables"
)

func (e *encoder) set(c *Command) error {
	s := c.Set
	a := attrs{}.text(setTable, e.tx.Table).text(setName, s.Name)
	switch c.Verb {
	case Delete:
		delete(e.sets, s.Name)
		e.send(msgDelSet, 0, a)
		return nil
	case Flush:
		e.send(msgDelElement, 0, attrs{}.text(elementsTable, e.tx.Table).text(elementsSet, s.Name))
		return nil
	case Add:
	}
	e.ids++
	if err := e.declare(s, 0, e.ids); err != nil {
		return err
	}
	e.sets[s.Name] = s
	return nil
}

// setFlagOf are the numbers of the flags that a set is declared with.
var setFlagOf = map[string]uint32{"constant": flagConstant, "interval": flagInterval, "timeout": flagTimeout, "dynamic": flagDynamic}

// dynamicSize is how many elements a set takes that packets fill, where it is declared without a size, as nft has it.
const dynamicSize = 65535

// declare makes a set, with flags besides its own.
func (e *encoder) declare(s *nftables.Set, flags, id uint32) error {
	keyType, ok := typeID(s.Key)
	if !ok {
		return unwritten("a set of %s", s.Key)
	}
	if s.Typeof != "" {
		return unwritten("a set that is declared by typeof %s", s.Typeof)
	}
	for _, f := range s.Flags {
		flags |= setFlagOf[f]
	}
	concat := flags&flagInterval != 0 && len(s.Key) > 1
	if concat {
		flags |= flagConcat
	}
	switch {
	case s.Object != "":
		flags |= flagObject
	case s.Map:
		flags |= flagMap
	}
	a := attrs{}.text(setTable, e.tx.Table).text(setName, s.Name).u32(setFlags, flags)
	a = a.u32(setKeyType, keyType).u32(setKeyLen, uint32(sizeOf(s.Key))) //nolint:gosec // small
	notes := orderNote(noteKeyOrder, s.Key)
	switch {
	case s.DataInterval:
		return unwritten("a map to ranges")
	case s.Object != "":
		kind, known := objectTypes[s.Object]
		if !known {
			return unwritten("a map to objects of kind %s", s.Object)
		}
		a = a.u32(setObjType, kind)
	case s.Map && len(s.Data) == 1 && s.Data[0] == nftables.VerdictType:
		a = a.u32(setDataType, verdictData)
		notes = append(notes, note(noteDataOrder, hostNumber(0))...)
	case s.Map:
		dataType, ok := typeID(s.Data)
		if !ok {
			return unwritten("a map to %s", s.Data)
		}
		a = a.u32(setDataType, dataType).u32(setDataLen, uint32(sizeOf(s.Data))) //nolint:gosec // small
		notes = append(notes, orderNote(noteDataOrder, s.Data)...)
	}
	if s.Memory {
		a = a.u32(setPolicy, 1)
	}
	if a, ok = e.bounds(a, s, flags); !ok {
		return unwritten("a set of elements with %d statements", len(s.Statements))
	}
	if s.AutoMerge {
		notes = append(notes, note(noteMerge, hostNumber(1))...)
	}
	if s.Comment != "" {
		notes = append(notes, note(noteSetComment, append([]byte(s.Comment), 0))...)
	}
	e.send(msgNewSet, create, a.u32(setID, id).put(setUserData, notes))
	return nil
}

// bounds are a set's size, its times and its elements' statement.
func (e *encoder) bounds(a attrs, s *nftables.Set, flags uint32) (attrs, bool) {
	size := s.Size
	if size == 0 && flags&flagDynamic != 0 {
		size = dynamicSize
	}
	var desc attrs
	if size > 0 {
		desc = desc.u32(descSize, uint32(size)) //nolint:gosec // 31 bits
	}
	if flags&flagConcat != 0 {
		var parts attrs
		for _, t := range s.Key {
			parts = parts.nest(listElement, attrs{}.u32(fieldLen, uint32(datatypes[t].bytes))) //nolint:gosec // small
		}
		desc = desc.nest(descConcat, parts)
	}
	if len(desc) > 0 {
		a = a.nest(setDesc, desc)
	}
	if s.Timeout > 0 {
		a = a.u64(setTimeout, uint64(s.Timeout/time.Millisecond)) //nolint:gosec // positive
	}
	if s.GCInterval > 0 {
		a = a.u32(setGCInterval, uint32(s.GCInterval/time.Millisecond)) //nolint:gosec // as above
	}
	if len(s.Statements) == 0 {
		return a, true
	}
	expr, err := statefulExpr(s.Statements[0])
	return a.nest(setExpr, expr), err == nil && len(s.Statements) == 1
}

// sizeOf is how long values of types are together, each in whole registers where there are several.
func sizeOf(types []nftables.Type) (n int) {
	for _, t := range types {
		size := datatypes[t].bytes
		if len(types) > 1 {
			size = padded(size)
		}
		n += size
	}
	return n
}

func hostNumber(n uint64) []byte { return bytesOf(nftables.Number{Low: n}, 4, true) }

// orderNote tells nft how numbers are to be read; of a concatenation it knows by the types.
func orderNote(kind byte, types []nftables.Type) []byte {
	order := uint64(orderBig)
	switch {
	case len(types) > 1:
		order = 0
	case datatypes[types[0]].host, types[0] == nftables.IfName:
		order = orderHost
	}
	return note(kind, hostNumber(order))
}

// anonymous makes a set or a map that stands in a rule, and returns its name and number.
func (e *encoder) anonymous(in *nftables.In, key, data []nftables.Type) (name string, id uint32, err error) {
	e.ids++
	s := nftables.Set{Name: "__set%d", Key: key, Data: data, Map: len(data) > 0, Size: len(in.Elements)}
	if s.Map {
		s.Name = "__map%d"
	}
	elements := in.Elements
	if slices.ContainsFunc(elements, func(el nftables.Element) bool { return slices.ContainsFunc(el.Key, spans) }) {
		s.Flags = []string{"interval"}
		elements = slices.Clone(elements)
		slices.SortStableFunc(elements, func(a, b nftables.Element) int { return compare(a.Key[0].Low, b.Key[0].Low) })
	}
	id = e.ids
	if err := e.declare(&s, flagAnonymous|flagConstant, id); err != nil {
		return "", 0, err
	}
	var all []attrs
	if s.Has("interval") && len(key) == 1 {
		if all, err = e.ranges(&s, elements); err != nil {
			return "", 0, err
		}
	} else {
		for i := range elements {
			one, err := e.encodeElement(&s, &elements[i])
			if err != nil {
				return "", 0, err
			}
			all = append(all, one)
		}
	}
	for _, one := range all {
		if err := e.addElement(Add, s.Name, id, one); err != nil {
			return "", 0, err
		}
	}
	e.close()
	return s.Name, id, nil
}

func spans(c nftables.Constant) bool { return !c.Single() && !c.Any }

func compare(a, b nftables.Number) int {
	switch {
	case a == b:
		return 0
	case a.High < b.High, a.High == b.High && a.Low < b.Low:
		return -1
	}
	return 1
}

// verdict is a verdict as data.
func verdict(v *nftables.Verdict) attrs {
	code := int32(codeAccept)
	switch v.Kind {
	case nat.Drop:
		code = codeDrop
	case nat.Continue:
		code = codeContinue
	case nat.Return:
		code = codeReturn
	case nat.Jump:
		code = codeJump
	case nat.Goto:
		code = codeGoto
	case nat.Accept, nat.Reject, nat.Queue, nat.Stolen:
	}
	a := attrs{}.u32(verdictCode, uint32(code)) //nolint:gosec // signed
	if v.Chain != "" {
		a = a.text(verdictChain, v.Chain)
	}
	return attrs{}.nest(dataVerdict, a)
}
