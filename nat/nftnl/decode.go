package nftnl

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"natlab/nat"
	"natlab/nat/nftables"
)

// Dump is what the kernel tells of the tables of a family, each message's attributes: of all tables, chains, rules, sets and objects in its
// order, and of each set its elements.
type Dump struct {
	Family                               nftables.Family
	Tables, Chains, Rules, Sets, Objects [][]byte
	Elements                             map[SetName][][]byte // messages with elements
	Devices                              map[uint32]string    // names by index
}

// SetName names a set of a table.
type SetName struct{ Table, Set string }

// Requests are the dumps that a Dump is made of, but for the elements.
func Requests(f nftables.Family) (tables, chains, rules, sets, objects Message) {
	ask := func(kind uint16) Message {
		return Message{Kind: subsystem | kind, Flags: dump, Family: families[string(f)]}
	}
	return ask(msgGetTable), ask(msgGetChain), ask(msgGetRule), ask(msgGetSet), ask(msgGetObject)
}

// ElementsOf is the dump of a set's elements.
func ElementsOf(f nftables.Family, s SetName) Message {
	return Message{
		Kind: subsystem | msgGetElement, Flags: dump, Family: families[string(f)],
		Attrs: attrs{}.text(elementsTable, s.Table).text(elementsSet, s.Set),
	}
}

// NameOfSet is the set that a message of Dump.Sets is about.
func NameOfSet(msg []byte) (SetName, error) {
	a, err := parse(msg)
	return SetName{a.text(setTable), a.text(setName)}, err
}

// decoder makes tables of a dump.
type decoder struct {
	dump  *Dump
	out   nftables.Ruleset
	at    map[string]int // tables by name
	sets  map[SetName]*heldSet
	chain map[[2]string]int
}

// heldSet is a set as the kernel has it.
type heldSet struct {
	nftables.Set
	anonymous bool
	keyLen    int
	ended     []nftables.Number // of a set of ranges, the values behind them
}

// Decode is the tables that a dump tells of, as nft lists them. An expression that this package does not read is Opaque, by its name in
// brackets.
func Decode(d Dump) (nftables.Ruleset, error) {
	r := &decoder{dump: &d, at: map[string]int{}, sets: map[SetName]*heldSet{}, chain: map[[2]string]int{}}
	for _, part := range []struct {
		what string
		msgs [][]byte
		read func(*fields) error
	}{{"table", d.Tables, r.table}, {"chain", d.Chains, r.chainOf}, {"set", d.Sets, r.set}, {"object", d.Objects, r.object}, {"rule", d.Rules, r.rule}} {
		for _, msg := range part.msgs {
			a, err := parse(msg)
			if err == nil {
				err = part.read(&a)
			}
			if err != nil {
				return nftables.Ruleset{}, fmt.Errorf("%s: %w", part.what, err)
			}
		}
	}
	registered := 0
	for i := range r.out.Tables {
		for k := range r.out.Tables[i].Chains {
			if b := r.out.Tables[i].Chains[k].Base; b != nil {
				registered++
				b.Registered = registered
			}
		}
	}
	return r.out, nil
}

func (r *decoder) table(a *fields) error {
	t := nftables.Table{Family: r.dump.Family, Name: a.text(tableName), Comment: textOf(noted(a[tableUserData], noteComment))}
	if a.u32(tableFlags)&1 != 0 {
		t.Flags = []string{"dormant"}
	}
	r.at[t.Name] = len(r.out.Tables)
	r.out.Tables = append(r.out.Tables, t)
	return nil
}

// of is the table of a message; one that came in between the dumps is not there.
func (r *decoder) of(a *fields) (*nftables.Table, error) {
	i, there := r.at[a.text(ofTable)]
	if !there {
		return nil, fmt.Errorf("of table %q, which is not there", a.text(ofTable))
	}
	return &r.out.Tables[i], nil
}

func (r *decoder) chainOf(a *fields) error {
	t, err := r.of(a)
	if err != nil {
		return err
	}
	c := nftables.Chain{Name: a.text(chainName), Comment: textOf(noted(a[chainUserData], noteComment))}
	if a.u32(chainFlags)&4 != 0 { // NFT_CHAIN_BINDING: it stands in a rule
		return nil
	}
	if a.has(chainHook) {
		h, err := parse(a[chainHook])
		if err != nil {
			return err
		}
		names := hooks
		if r.dump.Family == nftables.Netdev {
			names = []string{"ingress", "egress"}
		}
		b := &nftables.Base{Type: nftables.ChainType(a.text(chainType)), Priority: int(int32(h.u32(hookPriority)))} //nolint:gosec // signed
		if n := int(h.u32(hookNumber)); n < len(names) {
			b.Hook = names[n]
		} else {
			b.Hook = "ingress" // of inet
		}
		if h.has(hookDevice) {
			b.Devices = []string{h.text(hookDevice)}
		}
		if h.has(hookDevices) {
			devices, err := list(h[hookDevices])
			if err != nil {
				return err
			}
			b.Devices = nil
			for _, d := range devices {
				b.Devices = append(b.Devices, textOf(d))
			}
		}
		b.Drop = a.has(chainPolicy) && a.u32(chainPolicy) == codeDrop
		c.Base = b
	}
	r.chain[[2]string{t.Name, c.Name}] = len(t.Chains)
	t.Chains = append(t.Chains, c)
	return nil
}

func (r *decoder) object(a *fields) error {
	t, err := r.of(a)
	if err != nil {
		return err
	}
	o := nftables.Object{Name: a.text(objectName)}
	if comment := textOf(noted(a[objectUserData], noteComment)); comment != "" {
		o.Lines = []string{`comment "` + comment + `"`}
	}
	for name, number := range objectTypes {
		if number == a.u32(objectType) {
			o.Kind = name
		}
	}
	if o.Kind == "" {
		o.Kind = fmt.Sprintf("[object %d]", a.u32(objectType))
	} else {
		data, err := parse(a[objectData])
		if err != nil {
			return err
		}
		st, _ := statefulOf(o.Kind, &data)
		o.Lines = append(o.Lines, strings.TrimPrefix(st.String(), o.Kind+" "))
	}
	at := len(t.Objects) // nft lists one kind after the other
	for i := range t.Objects {
		if objectTypes[t.Objects[i].Kind] > objectTypes[o.Kind] {
			at = min(at, i)
		}
	}
	t.Objects = slices.Insert(t.Objects, at, o)
	return nil
}

// statefulOf is the statement of an expression, or an object, that remembers what has passed.
func statefulOf(name string, a *fields) (nftables.Statement, bool) {
	switch name {
	case "counter":
		return nftables.Counter{Packets: a.u64(2), Bytes: a.u64(1)}, true
	case "limit":
		l := nftables.Limit{Rate: a.u64(1), Burst: uint64(a.u32(3)), Bytes: a.u32(4) == 1, Over: a.u32(5)&1 != 0}
		for per, seconds := range periods {
			if seconds == a.u64(2) {
				l.Per = per
			}
		}
		if !l.Bytes && l.Burst == defaultBurst {
			l.Burst = 0
		}
		return l, l.Per != ""
	case "quota":
		return nftables.Quota{Bytes: a.u64(1), Over: a.u32(2)&1 != 0, Used: a.u64(4)}, true
	}
	return nil, false
}

func (r *decoder) set(a *fields) error {
	t, err := r.of(a)
	if err != nil {
		return err
	}
	flags := a.u32(setFlags)
	s := &heldSet{anonymous: flags&flagAnonymous != 0, keyLen: int(a.u32(setKeyLen))}
	s.Name, s.Map = a.text(setName), flags&(flagMap|flagObject) != 0
	r.sets[SetName{t.Name, s.Name}] = s
	var ok bool
	if s.Key, ok = typesOfID(a.u32(setKeyType)); !ok || len(s.Key) > 1 && sizeOf(s.Key) != int(a.u32(setKeyLen)) {
		s.Key = []nftables.Type{nftables.Untold}
	}
	switch {
	case flags&flagObject != 0:
		for name, number := range objectTypes {
			if number == a.u32(setObjType) {
				s.Object = name
			}
		}
	case flags&flagMap == 0:
	case a.u32(setDataType) == verdictData:
		s.Data = []nftables.Type{nftables.VerdictType}
	default:
		if s.Data, ok = typesOfID(a.u32(setDataType)); !ok {
			s.Data = []nftables.Type{nftables.Untold}
		}
	}
	for _, name := range []string{"constant", "interval", "dynamic", "timeout"} { // in nft's order
		if flags&setFlagOf[name] != 0 {
			s.Flags = append(s.Flags, name)
		}
	}
	if err := s.bounds(a); err != nil {
		return err
	}
	if flags&flagConstant != 0 {
		s.Size = 0 // it is how many elements it has, which nft does not list
	}
	notes := a[setUserData]
	s.Comment = textOf(noted(notes, noteSetComment))
	s.AutoMerge = slices.ContainsFunc(noted(notes, noteMerge), func(b byte) bool { return b != 0 })
	if of, is := typeofOf(noted(notes, noteKeyTypeof)); is {
		s.Typeof, s.Key = of.String(), nftables.TypesOf(of)
	}
	if of, is := typeofOf(noted(notes, noteDataTypeof)); is && s.Map && s.Object == "" {
		s.DataTypeof, s.Data = of.String(), nftables.TypesOf(of)
	} else if s.Typeof != "" && len(s.Data) > 0 && s.Data[0] == nftables.VerdictType {
		s.DataTypeof = string(nftables.VerdictType)
	}
	s.DataInterval = len(s.Data) > 0 && s.Object == "" && sizeOf(s.Data) > 0 && int(a.u32(setDataLen)) == 2*sizeOf(s.Data)
	for _, msg := range r.dump.Elements[SetName{t.Name, s.Name}] {
		m, err := parse(msg)
		if err != nil {
			return err
		}
		all, err := list(m[elementsList])
		if err != nil {
			return err
		}
		if err := r.elements(s, all); err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	s.finish()
	if !s.anonymous {
		t.Sets = append(t.Sets, s.Set)
	}
	return nil
}

func (s *heldSet) bounds(a *fields) error {
	s.Memory = a.u32(setPolicy) == 1
	s.Timeout = time.Duration(a.u64(setTimeout)) * time.Millisecond       //nolint:gosec // as the kernel has it
	s.GCInterval = time.Duration(a.u32(setGCInterval)) * time.Millisecond //
	desc, err := parse(a[setDesc])
	if err != nil {
		return err
	}
	s.Size = int(desc.u32(descSize))
	if a.has(setExpr) {
		st, err := statefulIn(a[setExpr])
		if err != nil {
			return err
		}
		s.Statements = append(s.Statements, st)
	}
	return nil
}

// statefulIn is the statement of a nested expression.
func statefulIn(b []byte) (nftables.Statement, error) {
	a, err := parse(b)
	if err != nil {
		return nil, err
	}
	data, err := parse(a[exprData])
	st, known := statefulOf(a.text(exprName), &data)
	if !known {
		return nftables.Opaque{Text: "[" + a.text(exprName) + "]"}, err
	}
	return st, err
}

// verdictOf is a verdict of the kernel's.
func verdictOf(b []byte) (*nftables.Verdict, error) {
	a, err := parse(b)
	if err != nil {
		return nil, err
	}
	v := &nftables.Verdict{Chain: a.text(verdictChain)}
	switch code := int32(a.u32(verdictCode)); code { //nolint:gosec // signed
	case codeAccept:
		v.Kind = nat.Accept
	case codeDrop:
		v.Kind = nat.Drop
	case codeContinue:
		v.Kind = nat.Continue
	case codeReturn:
		v.Kind = nat.Return
	case codeJump:
		v.Kind = nat.Jump
	case codeGoto:
		v.Kind = nat.Goto
	default:
		return nil, fmt.Errorf("verdict %d is not known", code)
	}
	return v, nil
}
