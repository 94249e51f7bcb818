package xt

import (
	"errors"
	"fmt"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// Set is -m set: a set of ipset(8) has the packet (xt_set.c).
type Set struct {
	Not bool
	rules.SetQuery
}

// Bits of xt_set_info.flags, of the commands' flags, and what a set's number is where there is none.
const (
	setInvert     = 1 << 0 // IPSET_INV_MATCH
	setSource     = 1 << 1 // IPSET_DIM_ONE_SRC; the others follow
	setMaxDims    = 6      // IPSET_DIM_MAX
	setOldNoMatch = 1 << 7 // IPSET_RETURN_NOMATCH, of revision 2
	setNone       = 65535  // IPSET_INVALID_ID

	setExist       = 1 << 0 // IPSET_FLAG_EXIST
	setKeep        = 1 << 3 // IPSET_FLAG_SKIP_COUNTER_UPDATE
	setKeepSub     = 1 << 4 // IPSET_FLAG_SKIP_SUBCOUNTER_UPDATE
	setNoMatch     = 1 << 7 // IPSET_FLAG_RETURN_NOMATCH
	setMapMark     = 1 << 8 // IPSET_FLAG_MAP_SKBMARK
	setMapPriority = 1 << 9
	setMapQueue    = 1 << 10

	setNameLength = 31 // IPSET_MAXNAMELEN without its zero
)

// setComparisons are the options that compare a counter, without their beginning.
var setComparisons = []struct {
	option  string
	not     bool
	compare rules.SetCompare
}{{"-eq", false, rules.SetEqual}, {"-eq", true, rules.SetNotEqual}, {"-lt", false, rules.SetLess}, {"-gt", false, rules.SetGreater}}

var setRow = Extension{
	Name: "set",
	Options: []Option{
		{Name: "--match-set", Also: []string{"--set"}, Values: 2, Not: true},
		{Name: "--return-nomatch"},
		{Name: "--update-counters", Not: true},
		{Name: "--update-subcounters", Not: true},
		{Name: "--packets-eq", Values: 1, Not: true},
		{Name: "--packets-lt", Values: 1},
		{Name: "--packets-gt", Values: 1},
		{Name: "--bytes-eq", Values: 1, Not: true},
		{Name: "--bytes-lt", Values: 1},
		{Name: "--bytes-gt", Values: 1},
	},
	Examples: []string{
		"--match-set one src", "! --match-set one dst,src,dst,src,dst,src --return-nomatch", "--match-set one dst,dst --packets-gt 18446744073709551615",
		"--match-set one src ! --update-counters ! --update-subcounters ! --packets-eq 5 --bytes-lt 700", "--match-set one dst --packets-eq 0 ! --bytes-eq 3",
	},
	Parse:  parseSet,
	Listed: func(l *Listing) bool { return l.Options("") },
	Layouts: layouts(
		layout(4, 48, decodeSet(4), encodeSet(4)).since(Version{1, 6, 0}),
		layout(3, 48, decodeSet(3), encodeSet(3)).since(Version{1, 4, 21}),
		layout(2, 4, decodeSet(2), encodeSet(2)),
		layout(1, 4, decodeSet(1), encodeSet(1)),
	),
}

func parseSet(a *Args) Value {
	var m Set
	a.Need("--match-set")
	for _, counter := range []string{"--packets", "--bytes"} {
		a.Exclusive(counter+"-eq", counter+"-lt", counter+"-gt")
	}
	a.Once("--return-nomatch", "--update-counters", "--update-subcounters")
	for g := range a.Options {
		switch name := g.Name(); name {
		case "--match-set":
			m.Not = g.Not
			m.Set, m.Dims = g.setName(), g.setDims()
		case "--return-nomatch":
			m.NoMatch = true
		case "--update-counters":
			m.KeepCounters = m.KeepCounters || g.Not
		case "--update-subcounters":
			m.KeepSubCounters = m.KeepSubCounters || g.Not
		default:
			at := &m.Packets
			if strings.HasPrefix(name, "--bytes") {
				at = &m.Bytes
			}
			for _, c := range setComparisons {
				if strings.HasSuffix(name, c.option) && g.Not == c.not {
					at.Compare, at.Value = c.compare, g.Uint(64)
				}
			}
		}
	}
	return m
}

// setName is value 0 as a set's name.
func (g *Given) setName() string {
	if g.Text() == "" {
		g.bad(0, "a set's name")
	}
	return g.TextUpTo(setNameLength)
}

// setDims is value 1 as the dimensions of a set. What stands behind "src" and "dst" does not count.
func (g *Given) setDims() (d rules.SetDims) {
	for w := range strings.SplitSeq(g.Values[1].Text, ",") {
		source := strings.HasPrefix(w, "src")
		if !source && !strings.HasPrefix(w, "dst") || d.Count == setMaxDims {
			g.bad(1, fmt.Sprintf("up to %d of src and dst, with commas between them", setMaxDims))
			return d
		}
		d.Src |= flagByte(source) << d.Count
		d.Count++
	}
	return d
}

// dimsText is "src,dst".
func dimsText(d rules.SetDims) string {
	var out []string
	for i := range int(d.Count) {
		out = append(out, [2]string{"dst", "src"}[flagByte(d.Source(i))])
	}
	return strings.Join(out, ",")
}

// readSetInfo reads struct xt_set_info { __u16 index; __u8 dim, flags; }. name is empty for no set.
func readSetInfo(d []byte, e *Env) (name string, dims rules.SetDims, ok bool) {
	index := order.Uint16(d)
	if index == setNone {
		return "", dims, true
	}
	name, ok = e.SetNames[index]
	dims = rules.SetDims{Count: d[2], Src: d[3] >> 1 & (1<<d[2] - 1)}
	return name, dims, ok && d[2] >= 1 && d[2] <= setMaxDims && d[3]&^(setInvert|setOldNoMatch) == dims.Src<<1
}

func putSetInfo(d []byte, name string, dims rules.SetDims, e *Env) error {
	if name == "" {
		order.PutUint16(d, setNone)
		return nil
	}
	index, ok := e.SetIndex[name]
	if !ok {
		return fmt.Errorf("set %q is not there", name)
	}
	order.PutUint16(d, index)
	d[2], d[3] = dims.Count, dims.Src<<1
	return nil
}

// Where the counters stand in struct xt_set_info_match_v3 and v4 { struct xt_set_info match_set; two of struct
// ip_set_counter_match0 { __u8 op; __u64 value; } or ip_set_counter_match { __u64 value; __u8 op; }; __u32 flags; }.
var setCounterAt = map[uint8][2]int{3: {0, 8}, 4: {8, 0}} // op, value

const (
	setPacketsAt = 8
	setBytesAt   = 24
	setFlagsAt   = 40
)

func decodeSet(revision uint8) func(d []byte, e *Env) (Set, bool) {
	return func(d []byte, e *Env) (Set, bool) {
		name, dims, ok := readSetInfo(d, e)
		m := Set{Not: d[3]&setInvert != 0, SetQuery: rules.SetQuery{Set: name, Dims: dims, NoMatch: d[3]&setOldNoMatch != 0}}
		at, counts := setCounterAt[revision]
		if !counts {
			return m, ok && name != "" && (revision == 2 || !m.NoMatch)
		}
		flags := order.Uint32(d[setFlagsAt:])
		ok = ok && name != "" && !m.NoMatch && flags&^(setNoMatch|setKeep|setKeepSub) == 0
		m.NoMatch, m.KeepCounters, m.KeepSubCounters = flags&setNoMatch != 0, flags&setKeep != 0, flags&setKeepSub != 0
		for i, c := range []*rules.SetCounter{&m.Packets, &m.Bytes} {
			b := d[setPacketsAt+i*(setBytesAt-setPacketsAt):]
			if c.Compare = rules.SetCompare(b[at[0]]); c.Compare > rules.SetGreater {
				return m, false
			}
			if c.Compare != rules.SetAny {
				c.Value = order.Uint64(b[at[1]:])
			}
		}
		return m, ok
	}
}

func encodeSet(revision uint8) func(m Set, d []byte, e *Env) error {
	return func(m Set, d []byte, e *Env) error {
		if err := putSetInfo(d, m.Set, m.Dims, e); err != nil {
			return err
		}
		d[3] |= flagByte(m.Not) * setInvert
		at, counts := setCounterAt[revision]
		if !counts {
			if m.KeepCounters || m.KeepSubCounters || m.Packets.Compare != rules.SetAny || m.Bytes.Compare != rules.SetAny || revision < 2 && m.NoMatch {
				return errors.New("counters need revision 3 of set, --return-nomatch needs 2")
			}
			d[3] |= flagByte(m.NoMatch) * setOldNoMatch
			return nil
		}
		for i, c := range []rules.SetCounter{m.Packets, m.Bytes} {
			b := d[setPacketsAt+i*(setBytesAt-setPacketsAt):]
			b[at[0]] = byte(c.Compare)
			order.PutUint64(b[at[1]:], c.Value)
		}
		order.PutUint32(d[setFlagsAt:], bitsIf(m.NoMatch, setNoMatch)|bitsIf(m.KeepCounters, setKeep)|bitsIf(m.KeepSubCounters, setKeepSub))
		return nil
	}
}

// bitsIf are some bits if on.
func bitsIf(on bool, b uint32) uint32 {
	if on {
		return b
	}
	return 0
}

// Name is "set".
func (Set) Name() string { return "set" }

// Save prints the set, its dimensions and what is asked of the member.
func (m Set) Save(p *Printer) { m.print(p, "--") }

// List prints the same without dashes.
func (m Set) List(p *Printer) { m.print(p, "") }

func (m Set) print(p *Printer, prefix string) {
	p.Option(m.Not, prefix+"match-set", m.Set+" "+dimsText(m.Dims))
	p.Flag(m.NoMatch, prefix+"return-nomatch")
	p.Flag(m.KeepCounters, "! "+prefix+"update-counters")
	p.Flag(m.KeepSubCounters, "! "+prefix+"update-subcounters")
	for _, counter := range []struct {
		name string
		rules.SetCounter
	}{{"packets", m.Packets}, {"bytes", m.Bytes}} {
		for _, c := range setComparisons {
			if c.compare == counter.Compare {
				p.Not(c.not)
				p.Number(prefix+counter.name+c.option, counter.Value)
			}
		}
	}
}

// Holds asks the node's set. Where that is not known it is asked what the set has, inverted or not; a set that a rule has
// changed on the packet's way is asked anew.
func (m Set) Holds(v *rules.Visit) rules.Answer {
	w, ok := v.World.(rules.SetHolder)
	if !ok {
		return rules.Unknown
	}
	answer := w.AskSet(v.Packet, m.SetQuery)
	if answer.Answer == rules.Unknown && v.Decider != nil {
		question := "-m set " + Options(Set{SetQuery: m.SetQuery}, nat.IPv4)
		if answer.Changed > 0 {
			question += fmt.Sprintf(", after change %d on the packet's way", answer.Changed)
		}
		return rules.Is(v.Unknown(question), m.Not)
	}
	return answer.Not(m.Not)
}

// Actual tells whether the set has the packet.
func (m Set) Actual(*rules.Visit) string {
	if m.Not {
		return "the set " + m.Set + " has it"
	}
	return "the set " + m.Set + " does not have it"
}
