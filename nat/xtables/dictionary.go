package xtables

import (
	"encoding/binary"
	"slices"
	"sync"

	"natlab/nat"
	"natlab/nat/iptables"
	"natlab/nat/xt"
)

// Dictionary remembers what entries mean. Nodes of one cluster hold the same chains but for a few, and each is read once then, and kept
// once: rule sets that one made share what is alike in them, and are not to be changed. The zero value is empty; its methods may be called
// by many goroutines.
type Dictionary struct {
	mu     sync.RWMutex
	rules  map[string]iptables.Rule   // by the bytes of an entry, without counters; under mu
	chains map[string][]iptables.Rule // by all of those of a chain, with counters; under mu
	rooms  []*room                    // of readings that are over; under mu
}

// Ruleset is what tables hold, as Decode and the function Ruleset tell it. An error is Decode's. Of ipsets no names are known, so
// that what refers to one is kept as bytes.
func (d *Dictionary) Ruleset(family nat.Family, blobs ...Blob) (iptables.Ruleset, error) {
	rs := iptables.Ruleset{Family: family}
	have := d.enter()
	defer d.leave(have)
	for _, b := range blobs {
		r := reading{Dictionary: d, blob: b, layout: layoutOf(b.Family), env: &xt.Env{Family: family}, room: have}
		t, ok := r.table()
		if !ok { // whatever is odd in it, Decode tells
			whole, err := Decode(b)
			if err != nil {
				return iptables.Ruleset{}, err
			}
			t = Ruleset(family, nil, whole).Tables[0]
		}
		rs.Tables = append(rs.Tables, t)
	}
	return rs, nil
}

// reading is a blob while it is read.
type reading struct {
	*Dictionary
	blob   Blob
	layout layout
	env    *xt.Env
	*room
}

// room is what a reading notes, which the next one overwrites.
type room struct {
	at     []int          // where entries begin, and at last where the blob ends
	heads  []string       // by the entries' numbers: the name of the user chain that one begins
	begins map[int]string // where a user chain's first rule stands

	// Of one chain.
	key      []byte
	parts    []int // where the entries end in key
	counters []byte
}

func (d *Dictionary) enter() *room {
	d.mu.Lock()
	defer d.mu.Unlock()
	last := len(d.rooms) - 1
	if last < 0 {
		return &room{begins: map[int]string{}}
	}
	r := d.rooms[last]
	d.rooms = d.rooms[:last]
	return r
}

func (d *Dictionary) leave(r *room) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.rooms = append(d.rooms, r)
}

// table reads a blob that is as the kernel makes them; false: it is not.
func (r *reading) table() (iptables.Table, bool) {
	if !r.cut() {
		return iptables.Table{}, false
	}
	number := make(map[int]int, 10)
	for _, h := range nat.Hooks() {
		if r.blob.Valid&(1<<h) != 0 {
			number[int(r.blob.Entry[h])], number[int(r.blob.Underflow[h])] = -1, -1
		}
	}
	for i, at := range r.at[:len(r.at)-1] {
		if _, wanted := number[at]; wanted {
			number[at] = i
		}
	}
	out := iptables.Table{Name: r.blob.Name, Chains: make([]iptables.Chain, 0, len(r.begins)+len(nat.Hooks()))}
	next := 0
	for _, h := range nat.Hooks() {
		if r.blob.Valid&(1<<h) == 0 {
			continue
		}
		first, tail := number[int(r.blob.Entry[h])], number[int(r.blob.Underflow[h])]
		if first != next || tail < first {
			return iptables.Table{}, false
		}
		c, ok := r.chain(h.String(), first, tail)
		last, plain := r.tail(tail)
		if !ok || !plain {
			return iptables.Table{}, false
		}
		c.Policy, c.Packets, c.Bytes = last.VerdictName(), last.Packets, last.Bytes
		out.Chains = append(out.Chains, c)
		next = tail + 1
	}
	for end := len(r.at) - 2; next < end; {
		name := r.heads[next]
		first := next + 1
		for next = first; next < end && r.heads[next] == ""; next++ {
		}
		c, ok := r.chain(name, first, next-1)
		_, plain := r.tail(next - 1)
		if name == "" || next == first || !ok || !plain {
			return iptables.Table{}, false
		}
		c.Policy = "-"
		out.Chains = append(out.Chains, c)
	}
	return out, true
}

// cut finds where entries and chains begin.
func (r *reading) cut() bool {
	b, l := r.blob.Bytes, r.layout
	r.at, r.heads = r.at[:0], r.heads[:0]
	clear(r.begins)
	for at := 0; at < len(b); {
		if len(b)-at < l.size+extHeader {
			return false
		}
		target, next := r.target(at), int(binary.NativeEndian.Uint16(b[at+l.nfcache+6:]))
		if target < l.size || next < target+extHeader || next > len(b)-at {
			return false
		}
		head := ""
		if string(b[at+target+2:][:len(errorTarget)+1]) == errorTarget+"\x00" {
			var ok bool
			if head, ok = cString(b[at+target+extHeader : at+next][:min(chainName, next-target-extHeader)]); !ok || head == "" {
				return false
			}
			r.begins[at+next] = head
		}
		r.at, r.heads = append(r.at, at), append(r.heads, head)
		at += next
	}
	n := len(r.at)
	if n == 0 || uint64(n) != uint64(r.blob.Count) || r.heads[n-1] != errorTarget {
		return false
	}
	r.at = append(r.at, len(b))
	return true
}

// target is where the entry at an offset has its target.
func (r *reading) target(at int) int {
	return int(binary.NativeEndian.Uint16(r.blob.Bytes[at+r.layout.nfcache+4:]))
}

// tail is the verdict of the entry that closes a chain, and its counters; false: it is more than a verdict.
func (r *reading) tail(i int) (last Entry, ok bool) {
	at, l := r.at[i], r.layout
	b := r.blob.Bytes[at:r.at[i+1]]
	if len(b) != l.size+extHeader+alignment || r.target(at) != l.size || b[l.size+2] != 0 || slices.ContainsFunc(b[:l.nfcache], func(c byte) bool { return c != 0 }) {
		return Entry{}, false
	}
	last = Entry{Target: Extension{Data: b[l.size+extHeader:]}, Packets: order.Uint64(b[l.counters:]), Bytes: order.Uint64(b[l.counters+8:])}
	return last, last.Verdict() < 0
}

// chain reads the rules of the entries from first up to tail, which closes the chain.
func (r *reading) chain(name string, first, tail int) (iptables.Chain, bool) {
	out := iptables.Chain{Name: name}
	if tail <= first {
		return out, tail == first
	}
	r.key, r.parts = append(r.key[:0], byte(r.blob.Family)), r.parts[:0]
	r.counters = r.counters[:0]
	for i := first; i < tail; i++ {
		if !r.spell(i) {
			return out, false
		}
		r.parts = append(r.parts, len(r.key))
		r.counters = append(r.counters, r.blob.Bytes[r.at[i]+r.layout.counters:][:16]...)
	}
	r.key = append(r.key, r.counters...)
	r.mu.RLock()
	rules, known := r.chains[string(r.key)]
	r.mu.RUnlock()
	if known {
		out.Rules = rules
		return out, true
	}
	rules = make([]iptables.Rule, 0, tail-first)
	begin := 1
	for i := first; i < tail; i++ {
		rule, ok := r.rule(i, r.key[begin:r.parts[i-first]])
		if !ok {
			return out, false
		}
		c := r.blob.Bytes[r.at[i]+r.layout.counters:]
		rule.Packets, rule.Bytes = order.Uint64(c), order.Uint64(c[8:])
		rules = append(rules, rule)
		begin = r.parts[i-first]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.chains == nil {
		r.chains = map[string][]iptables.Rule{}
	}
	r.chains[string(r.key)] = rules
	out.Rules = rules
	return out, true
}

// spell writes into the key what tells an entry from others: its bytes but for counters and the kernel's own notes, and the name of the chain
// that it leads to in place of an offset.
func (r *reading) spell(i int) bool {
	at, end, l := r.at[i], r.at[i+1], r.layout
	b := r.blob.Bytes
	r.key = append(append(r.key, b[at:at+l.nfcache]...), b[at+l.nfcache+4:at+l.nfcache+8]...)
	rest := len(r.key)
	r.key = append(r.key, b[at+l.size:end]...)
	target := r.target(at)
	if b[at+target+2] != 0 || end-at-target != extHeader+alignment { // of an extension
		return r.heads[i] == ""
	}
	verdict := int32(order.Uint32(b[at+target+extHeader:]))
	if verdict < 0 {
		return true
	}
	clear(r.key[rest+target-l.size+extHeader:][:4])
	switch chain, leads := r.begins[int(verdict)]; {
	case leads:
		r.key = append(append(r.key, 'J'), chain...)
	case int(verdict) == end:
		r.key = append(r.key, 'F')
	default:
		return false
	}
	return true
}

// rule is an entry without counters.
func (r *reading) rule(i int, key []byte) (iptables.Rule, bool) {
	r.mu.RLock()
	known, has := r.rules[string(key)]
	r.mu.RUnlock()
	if has {
		return known, true
	}
	d := decoder{blob: r.blob, layout: r.layout}
	f, _, err := d.entry(r.at[i])
	if err != nil {
		return iptables.Rule{}, false
	}
	if e := &f.entry; e.Target.Name == standardTarget && f.verdict >= 0 {
		e.Jump = r.begins[int(f.verdict)]
		e.FallThrough = e.Jump == ""
		clear(e.Target.Data[:4])
	}
	f.entry.Packets, f.entry.Bytes = 0, 0
	rule := f.entry.rule(r.env)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rules == nil {
		r.rules = map[string]iptables.Rule{}
	}
	r.rules[string(key)] = rule
	return rule, true
}
