package xt

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"natlab/nat"
)

// SCTPChunks is sctp's --chunk-types.
type SCTPChunks struct {
	Not   bool
	Match SCTPMatch
	Types [8]uint32   // a bit for each type of chunk: Types[t/32]&(1<<(t%32)); all bits for ALL
	Flags []SCTPFlags // of some of these types, at most four
}

// SCTPMatch tells which of a packet's chunks have to be of the types (SCTP_CHUNK_MATCH_*).
type SCTPMatch uint8

// The ways to match.
const (
	AnyChunk   SCTPMatch = 1 << iota // one chunk is
	AllChunks                        // there is one of each type
	OnlyChunks                       // no chunk is of another type
)

// SCTPFlags is what the flag byte of a type's chunks has to be: of the bits in Mask exactly those in Set are on.
type SCTPFlags struct{ Type, Set, Mask uint8 }

// sctpChunk is a type of chunk that iptables has a name for (RFC 9260, section 3.2, and the RFCs that add to it).
type sctpChunk struct {
	number uint8
	name   string
	flags  string // the letters of its flags, the highest bit first
}

// sctpChunks are the types in the order in which libxt_sctp has them. Flags are kept by a type's place in this list, which
// is its number for the first fifteen; those of the others come to nothing.
var sctpChunks = []sctpChunk{
	{0, "DATA", "----IUBE"},
	{1, "INIT", noFlags},
	{2, "INIT_ACK", noFlags},
	{3, "SACK", noFlags},
	{4, "HEARTBEAT", noFlags},
	{5, "HEARTBEAT_ACK", noFlags},
	{6, "ABORT", tFlag},
	{7, "SHUTDOWN", noFlags},
	{8, "SHUTDOWN_ACK", noFlags},
	{9, "ERROR", noFlags},
	{10, "COOKIE_ECHO", noFlags},
	{11, "COOKIE_ACK", noFlags},
	{12, "ECN_ECNE", noFlags},
	{13, "ECN_CWR", noFlags},
	{14, "SHUTDOWN_COMPLETE", tFlag},
	{64, "I_DATA", "----IUBE"},
	{130, "RE_CONFIG", noFlags},
	{132, "PAD", noFlags},
	{193, "ASCONF", noFlags},
	{128, "ASCONF_ACK", noFlags},
	{192, "FORWARD_TSN", noFlags},
	{194, "I_FORWARD_TSN", noFlags},
}

const (
	noFlags = "--------"
	tFlag   = "-------T"

	flaggedChunks = 15 // of sctpChunks: those whose place is their number
	maxSCTPFlags  = 4  // XT_NUM_SCTP_FLAGS
)

var sctpRow = Extension{
	Name: "sctp", Needs: "-p sctp", Protocols: []nat.Proto{nat.SCTP},
	Options: portOptions(Option{Name: "--chunk-types", Values: 2, Not: true}),
	Examples: []string{
		"--sport 1:65535 ! --dport 7", "--chunk-types all INIT", "! --chunk-types any DATA:Be,ABORT:T,SHUTDOWN_COMPLETE:t,I_DATA",
		"--chunk-types only ALL", "--chunk-types only NONE", "--sport 0:65535",
	},
	Listed: listedPorts("sctp", listedSCTP),
	Parse: func(a *Args) Value {
		m := Ports{Protocol: "sctp"}
		a.Once()
		for g := range a.Options {
			switch g.Name() {
			case "--sport":
				m.Source = g.portRange(nat.SCTP, anyBase)
			case "--dport":
				m.Destination = g.portRange(nat.SCTP, anyBase)
			case "--chunk-types":
				m.Chunks = g.sctpChunks()
			}
		}
		return m
	},
	// struct xt_sctp_info { __u16 dpts[2], spts[2]; __u32 chunkmap[64], chunk_match_type; struct xt_sctp_flag_info { __u8
	// chunktype, flag, flag_mask; } flag_info[4]; int flag_count; __u32 flags, invflags; }
	Layouts: layouts(layout(0, 292, decodeSCTP, encodeSCTP)),
}

// sctpChunks reads MATCH TYPE[:FLAGS],...
func (g *Given) sctpChunks() *SCTPChunks {
	c := &SCTPChunks{Not: g.Not, Match: 1 << g.Choice(true, "any", "all", "only")}
	text := g.Values[1].Text
	switch {
	case strings.EqualFold(text, "ALL"):
		for i := range c.Types {
			c.Types[i] = ^uint32(0)
		}
		return c
	case strings.EqualFold(text, "NONE"):
		return c
	}
	for word := range strings.SplitSeq(text, ",") {
		if word == "" {
			continue
		}
		name, flags, _ := strings.Cut(word, ":")
		i := slices.IndexFunc(sctpChunks, func(x sctpChunk) bool { return strings.EqualFold(x.name, name) })
		if i < 0 {
			g.bad(1, "types of chunks such as DATA,INIT, or ALL or NONE")
			return c
		}
		c.Types[sctpChunks[i].number/32] |= 1 << (sctpChunks[i].number % 32)
		if why := c.addFlags(i, flags); why != "" {
			g.bad(1, why)
			return c
		}
	}
	return c
}

// addFlags adds flags of a type by its place in the list: a capital letter for one that is on, a small one for one that is
// off.
func (c *SCTPChunks) addFlags(place int, letters string) (wrong string) {
	for _, letter := range []byte(letters) {
		at := strings.IndexByte(sctpChunks[place].flags, strings.ToUpper(string(letter))[0])
		if at < 0 {
			return fmt.Sprintf("flags of %s out of %q", sctpChunks[place].name, strings.Trim(sctpChunks[place].flags, "-"))
		}
		if place >= flaggedChunks {
			continue
		}
		kind := uint8(place)
		i := slices.IndexFunc(c.Flags, func(f SCTPFlags) bool { return f.Type == kind })
		if i < 0 {
			if i = len(c.Flags); i == maxSCTPFlags {
				return fmt.Sprintf("flags of at most %d types", maxSCTPFlags)
			}
			c.Flags = append(c.Flags, SCTPFlags{Type: kind})
		}
		c.Flags[i].Mask |= 0x80 >> at
		if letter >= 'A' && letter <= 'Z' {
			c.Flags[i].Set |= 0x80 >> at
		}
	}
	return ""
}

// Offsets in struct xt_sctp_info, and its bits.
const (
	sctpMap      = 8
	sctpMapWords = 64 // of which types take the first eight
	sctpMatch    = sctpMap + 4*sctpMapWords
	sctpFlagInfo = sctpMatch + 4
	sctpCount    = sctpFlagInfo + 3*maxSCTPFlags
	sctpAsked    = sctpCount + 4
	sctpInverted = sctpAsked + 4

	headerSource      = 1 // XT_SCTP_SRC_PORTS, XT_DCCP_SRC_PORTS
	headerDestination = 2
	headerThird       = 4 // XT_SCTP_CHUNK_TYPES, XT_DCCP_TYPE
	headerFourth      = 8 // XT_DCCP_OPTION
)

func decodeSCTP(d []byte, _ *Env) (Ports, bool) {
	asked, inv := order.Uint32(d[sctpAsked:]), order.Uint32(d[sctpInverted:])
	m := Ports{Protocol: "sctp"}
	m.Source = rangeIf(asked&headerSource != 0, d[4:], inv&headerSource != 0)
	m.Destination = rangeIf(asked&headerDestination != 0, d, inv&headerDestination != 0)
	ok := (asked|inv)&^(headerSource|headerDestination|headerThird) == 0 && inv&^asked == 0
	if asked&headerThird != 0 {
		c, named := decodeChunks(d)
		c.Not = inv&headerThird != 0
		m.Chunks, ok = c, ok && named
	}
	return m, ok
}

// rangeIf is the range that a struct holds, where its flags tell that it counts.
func rangeIf(asked bool, d []byte, not bool) *PortRange {
	if !asked {
		return nil
	}
	return &PortRange{not, order.Uint16(d), order.Uint16(d[2:])}
}

func decodeChunks(d []byte) (c *SCTPChunks, ok bool) {
	c = &SCTPChunks{Match: SCTPMatch(order.Uint32(d[sctpMatch:]))}
	var rest uint32
	for i := range sctpMapWords {
		if word := order.Uint32(d[sctpMap+4*i:]); i < len(c.Types) {
			c.Types[i] = word
		} else {
			rest |= word
		}
	}
	count := int(order.Uint32(d[sctpCount:]))
	ok = count >= 0 && count <= maxSCTPFlags && slices.Contains([]SCTPMatch{AnyChunk, AllChunks, OnlyChunks}, c.Match)
	for i := range min(max(count, 0), maxSCTPFlags) {
		f := d[sctpFlagInfo+3*i:]
		if f[0] < flaggedChunks {
			c.Flags = append(c.Flags, SCTPFlags{f[0], f[1], f[2]})
		}
	}
	return c, ok && (c.all() || rest == 0 && c.named())
}

// all reports whether every type is asked for.
func (c *SCTPChunks) all() bool {
	return !slices.ContainsFunc(c.Types[:], func(w uint32) bool { return w != ^uint32(0) })
}

// has reports whether a type is asked for.
func (c *SCTPChunks) has(kind uint8) bool { return c.Types[kind/32]&(1<<(kind%32)) != 0 }

// named reports whether all types that are asked for have names, and their flags have letters.
func (c *SCTPChunks) named() bool {
	for kind := range 256 {
		if c.has(uint8(kind)) && chunkName(uint8(kind)) == "" {
			return false
		}
	}
	return !slices.ContainsFunc(c.Flags, func(f SCTPFlags) bool { return f.Set&^f.Mask != 0 || f.Mask == 0 || !c.has(f.Type) })
}

func chunkName(kind uint8) string {
	if i := slices.IndexFunc(sctpChunks, func(x sctpChunk) bool { return x.number == kind }); i >= 0 {
		return sctpChunks[i].name
	}
	return ""
}

func encodeSCTP(m Ports, d []byte, _ *Env) error {
	if m.Source != nil {
		putPorts(d[4:], m.Source)
	}
	if m.Destination != nil {
		putPorts(d, m.Destination)
	}
	for i := range maxSCTPFlags {
		d[sctpFlagInfo+3*i] = 0xff // no type
	}
	inv := m.Source.inverted(headerSource) | m.Destination.inverted(headerDestination)
	flags := bitIf[uint8](m.Source != nil, headerSource) | bitIf[uint8](m.Destination != nil, headerDestination)
	if c := m.Chunks; c != nil {
		if len(c.Flags) > maxSCTPFlags {
			return errors.New("flags of more than four types of chunks")
		}
		flags |= headerThird
		inv |= bitIf[uint8](c.Not, headerThird)
		for i := range sctpMapWords {
			if c.all() {
				order.PutUint32(d[sctpMap+4*i:], ^uint32(0))
			} else if i < len(c.Types) {
				order.PutUint32(d[sctpMap+4*i:], c.Types[i])
			}
		}
		order.PutUint32(d[sctpMatch:], uint32(c.Match))
		for i, f := range c.Flags {
			copy(d[sctpFlagInfo+3*i:], []byte{f.Type, f.Set, f.Mask})
		}
		order.PutUint32(d[sctpCount:], uint32(len(c.Flags)))
	}
	order.PutUint32(d[sctpAsked:], uint32(flags))
	order.PutUint32(d[sctpInverted:], uint32(inv))
	return nil
}

func listedSCTP(l *Listing) {
	was := *l
	not := l.TakeWord("!")
	match := l.Word()
	if match != "any" && match != "all" && match != "only" {
		*l = was
		return
	}
	var types []string
	for word := range strings.SplitSeq(l.Word(), ",") {
		number, flags, flagged := strings.Cut(word, ":")
		if n, ok := Number(strings.ToLower(number), 255); ok {
			number = chunkName(uint8(n))
		}
		if flagged {
			number += ":" + flags
		}
		types = append(types, number)
	}
	l.Give("--chunk-types", not, match, strings.Join(types, ","))
}

func (c *SCTPChunks) save(p *Printer) {
	if c != nil {
		p.Not(c.Not)
		p.Text(" --chunk-types")
		c.print(p, chunkName)
	}
}

func (c *SCTPChunks) list(p *Printer) {
	p.Not(c.Not)
	c.print(p, func(kind uint8) string { return fmt.Sprintf("0x%04X", kind) })
}

// print prints which chunks and their types, by names.
func (c *SCTPChunks) print(p *Printer, name func(uint8) string) {
	p.Text(map[SCTPMatch]string{AnyChunk: " any ", AllChunks: " all ", OnlyChunks: " only "}[c.Match])
	switch {
	case c.all():
		p.Text("ALL")
		return
	case c.Types == [8]uint32{}:
		p.Text("NONE")
		return
	}
	var words []string
	for kind := range 256 {
		if !c.has(uint8(kind)) {
			continue
		}
		words = append(words, name(uint8(kind))+c.letters(uint8(kind)))
	}
	p.Text(strings.Join(words, ","))
}

// letters are the flags of a type as --chunk-types has them: ":Be"; "" for none.
func (c *SCTPChunks) letters(kind uint8) string {
	i := slices.IndexFunc(c.Flags, func(f SCTPFlags) bool { return f.Type == kind })
	if i < 0 {
		return ""
	}
	f := c.Flags[i]
	out := []byte{':'}
	for at, letter := range []byte(sctpChunks[f.Type].flags) {
		switch bit := byte(0x80 >> at); {
		case f.Mask&bit == 0:
		case f.Set&bit != 0:
			out = append(out, letter)
		default:
			out = append(out, strings.ToLower(string(letter))...)
		}
	}
	return string(out)
}
