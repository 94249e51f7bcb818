package xtables

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// Blobs lays rules out as the kernel wants them from IPT_SO_SET_REPLACE, each table complete: what Tables and Encode make of them,
// without the tables between, which cost ten times as much.
func (w Writer) Blobs(rs iptables.Ruleset) ([]Blob, error) {
	w.Family = rs.Family
	var out []Blob
	for _, t := range rs.Tables {
		l := laying{Writer: w, layout: layoutOf(w.Family), starts: make(map[string]int, len(t.Chains)), env: xt.Env{Family: w.Family, SetIndex: w.Sets}}
		b, err := l.table(t)
		if err != nil {
			return nil, fmt.Errorf("encode table %s: %w", t.Name, err)
		}
		out = append(out, b)
	}
	return out, nil
}

// laying is a table while it is laid out.
type laying struct {
	Writer
	layout layout
	env    xt.Env
	out    []byte
	count  uint32
	starts map[string]int // where a user chain's first rule stands
	jumps  []jump
	rows   map[rowKey]row // of the extensions that were met
}

// jump is a standard target whose chain's place is not known yet: at is where it is written.
type jump struct {
	at    int
	chain string
}

type rowKey struct {
	name string
	kind xt.Kind
}

type row struct {
	name   string // as x_tables knows it
	layout xt.Layout
}

func (l *laying) table(t iptables.Table) (Blob, error) {
	b := Blob{Family: l.Family, Name: t.Name}
	if len(t.Name) == 0 || len(t.Name) >= 32 {
		return Blob{}, errors.New("its name: want 1 to 31 bytes")
	}
	hooks, rules := nat.TableHooks(t.Name), 0
	for i := range t.Chains {
		c := &t.Chains[i]
		if c.BuiltIn() && !slices.ContainsFunc(hooks, func(h nat.Hook) bool { return h.String() == c.Name }) {
			return Blob{}, fmt.Errorf("it has no chain %s", c.Name)
		}
		rules += len(c.Rules) + 2
	}
	l.out = make([]byte, 0, rules*roomOfRule)
	for _, hook := range hooks {
		c, _ := t.Chain(hook.String())
		if err := l.builtIn(&b, hook, &c); err != nil {
			return Blob{}, err
		}
	}
	for _, c := range userChains(t) {
		if err := l.user(c); err != nil {
			return Blob{}, err
		}
	}
	if err := l.head(errorTarget); err != nil {
		return Blob{}, err
	}
	if int64(len(l.out)) > 1<<31-1 {
		return Blob{}, fmt.Errorf("%d bytes are more than an offset can hold", len(l.out))
	}
	for _, j := range l.jumps {
		start, ok := l.starts[j.chain]
		if !ok {
			return Blob{}, fmt.Errorf("a jump to %q, which is no chain of this table", j.chain)
		}
		order.PutUint32(l.out[j.at:], uint32(start))
	}
	b.Count, b.Bytes = l.count, l.out
	return b, nil
}

// roomOfRule is about what a rule of kube-proxy's takes.
const roomOfRule = 400

// userChains are a table's own chains by name, as iptables-restore leaves them in the kernel.
func userChains(t iptables.Table) (out []*iptables.Chain) {
	for i := range t.Chains {
		if !t.Chains[i].BuiltIn() {
			out = append(out, &t.Chains[i])
		}
	}
	slices.SortStableFunc(out, func(a, b *iptables.Chain) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (l *laying) builtIn(b *Blob, hook nat.Hook, c *iptables.Chain) error {
	b.Valid |= 1 << hook
	b.Entry[hook] = uint32(len(l.out))
	if err := l.rules(c); err != nil {
		return err
	}
	b.Underflow[hook] = uint32(len(l.out))
	verdict := xt.Target(xt.Accept{})
	if c.Policy == "DROP" {
		verdict = xt.Drop{}
	}
	return l.entry(&iptables.Rule{Target: verdict, Packets: c.Packets, Bytes: c.Bytes})
}

func (l *laying) user(c *iptables.Chain) error {
	if _, twice := l.starts[c.Name]; twice {
		return fmt.Errorf("chain %q twice", c.Name)
	}
	if c.Name == "" || len(c.Name) >= chainName {
		return fmt.Errorf("chain name %q: want 1 to %d bytes", c.Name, chainName-1)
	}
	if err := l.head(c.Name); err != nil {
		return err
	}
	l.starts[c.Name] = len(l.out)
	if err := l.rules(c); err != nil {
		return err
	}
	return l.entry(&iptables.Rule{Target: xt.Return{}})
}

// head is the ERROR entry in front of a user chain, and behind all.
func (l *laying) head(name string) error {
	at := len(l.out)
	l.zeros(l.layout.size)
	target := len(l.out)
	copy(l.extension(errorTarget, 0, chainName+2), name)
	return l.end(at, target, Header{})
}

func (l *laying) rules(c *iptables.Chain) error {
	for i := range c.Rules {
		if err := l.entry(&c.Rules[i]); err != nil {
			return fmt.Errorf("chain %s: rule %d: %w", c.Name, i+1, err)
		}
	}
	return nil
}

func (l *laying) entry(r *iptables.Rule) error {
	at := len(l.out)
	l.zeros(l.layout.size)
	var h Header
	for _, m := range r.Matches {
		ok, err := h.ask(m, l.Family)
		if err == nil && !ok {
			err = l.value(m, xt.MatchKind)
		}
		if err != nil {
			return err
		}
	}
	target := len(l.out)
	if err := l.target(r.Target, &h); err != nil {
		return err
	}
	order.PutUint64(l.out[at+l.layout.counters:], r.Packets)
	order.PutUint64(l.out[at+l.layout.counters+8:], r.Bytes)
	return l.end(at, target, h)
}

// target writes what a rule ends with.
func (l *laying) target(t xt.Target, h *Header) error {
	verdict := int32(0)
	switch t := t.(type) {
	case nil:
		verdict = int32(len(l.out) + extHeader + alignment) // the next entry
	case xt.Accept:
		verdict = VerdictAccept
	case xt.Drop:
		verdict = VerdictDrop
	case xt.Return:
		verdict = VerdictReturn
	case xt.Queue:
		verdict = VerdictQueue
	case xt.Jump:
		l.jumps = append(l.jumps, jump{len(l.out) + extHeader, t.Chain})
	case xt.Goto:
		h.Flags |= l.layout.gotoFlag
		l.jumps = append(l.jumps, jump{len(l.out) + extHeader, t.Chain})
	default:
		return l.value(t, xt.TargetKind)
	}
	order.PutUint32(l.extension(standardTarget, 0, alignment), uint32(verdict))
	return nil
}

// value writes an extension in the revision that the version writes.
func (l *laying) value(v xt.Value, kind xt.Kind) error {
	if _, raw := rawOptions(v); raw {
		x, err := l.Writer.extension(v, kind)
		if err == nil && len(x.Name) >= extName {
			err = fmt.Errorf("extension %q: want a name of at most %d bytes", x.Name, extName-1)
		}
		if err == nil {
			copy(l.extension(x.Name, x.Revision, len(x.Data)), x.Data)
		}
		return err
	}
	is, err := l.row(v.Name(), kind)
	if err != nil {
		return err
	}
	d := l.extension(is.name, is.layout.Revision, xt.Padded(is.layout.Size))
	if err := is.layout.Encode(v, d[:is.layout.Size], &l.env); err != nil {
		return fmt.Errorf("%s: %w", v.Name(), err)
	}
	return nil
}

func (l *laying) row(name string, kind xt.Kind) (row, error) {
	key := rowKey{name, kind}
	if known, ok := l.rows[key]; ok {
		return known, nil
	}
	x, ok := xt.Find(name, kind, l.Family)
	if !ok {
		return row{}, fmt.Errorf("%s: %w", name, ErrNotEncodable)
	}
	is, ok := x.Written(l.Family, l.Version)
	if !ok {
		return row{}, fmt.Errorf("%s: %w", name, ErrNotEncodable)
	}
	if l.rows == nil {
		l.rows = map[rowKey]row{}
	}
	l.rows[key] = row{cmp.Or(x.Name, name), is}
	return l.rows[key], nil
}

// extension makes room for a match or target, behind its header, and returns the room.
func (l *laying) extension(name string, revision uint8, size int) []byte {
	at := len(l.out)
	l.zeros(extHeader + size)
	order.PutUint16(l.out[at:], uint16(extHeader+size))
	copy(l.out[at+2:], name)
	l.out[at+31] = revision
	return l.out[at+extHeader:]
}

func (l *laying) zeros(n int) {
	l.out = slices.Grow(l.out, n)
	l.out = l.out[:len(l.out)+n]
	clear(l.out[len(l.out)-n:])
}

// end writes what an entry begins with, once all of it is there.
func (l *laying) end(at, target int, h Header) error {
	size := len(l.out) - at
	if size > maxEntry {
		return fmt.Errorf("%d bytes are more than an entry can hold", size)
	}
	b, n := l.out[at:], l.layout.addr
	for i, a := range [...]netip.Addr{h.Src, h.Dst, h.SrcMask, h.DstMask} {
		switch {
		case a.Is4():
			four := a.As4()
			copy(b[i*n:(i+1)*n], four[:])
		case a.IsValid():
			sixteen := a.As16()
			copy(b[i*n:(i+1)*n], sixteen[:])
		}
	}
	for i, name := range [...]*[16]byte{&h.In, &h.Out, &h.InMask, &h.OutMask} {
		copy(b[4*n+16*i:], name[:])
	}
	order.PutUint16(b[l.layout.proto:], h.Proto)
	rest := b[l.layout.proto+2:]
	if l.layout.hasTOS {
		rest[0], rest = h.TOS, rest[1:]
	}
	rest[0], rest[1] = h.Flags, h.Inv
	order.PutUint16(b[l.layout.nfcache+4:], uint16(target-at))
	order.PutUint16(b[l.layout.nfcache+6:], uint16(size))
	l.count++
	return nil
}
