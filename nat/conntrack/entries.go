package conntrack

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"natlab/nat"
)

// ParseEntries reads connections as conntrack -L prints them, or /proc/net/nf_conntrack, and what conntrack -E tells of them: those that are there behind
// its last line. Empty lines and the command that printed the others are passed over. They are not in any table (Table.Restore). An error names the line.
func ParseEntries(text string) (all []Conn, err error) {
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") || words[0] == "conntrack" && strings.Contains(line, "flow entries") || entryCommand.MatchString(line) {
			continue
		}
		if !strings.Contains(line, "src=") && nat.LeftOut(line) {
			return nil, fmt.Errorf("line %d: entries were taken out of the text here, and a packet may belong to one of them: want the whole text, or this line away where none is the packet's", number)
		}
		event, words := entryEvent(words)
		c, err := parseEntry(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		if event != "" {
			all = slices.DeleteFunc(all, func(old Conn) bool { return old.Original == c.Original && old.Zone == c.Zone })
		}
		if event != "[DESTROY]" {
			all = append(all, c)
		}
	}
	return all, nil
}

// entryCommand is a line with the command that printed the others, or what it asked.
var entryCommand = regexp.MustCompile(`^[^=]*[$#>%] *(sudo +)?(conntrack|cat|grep)\b|^\[sudo\] |^[^=]*[$#] *$|^\^C`)

// entryEvent takes away what conntrack -E has in front of an entry, with -o timestamp, too: "[1700000000.123456] [NEW]".
func entryEvent(words []string) (event string, rest []string) {
	for rest = words; len(rest) > 0 && strings.HasPrefix(rest[0], "["); rest = rest[1:] {
		if slices.Contains([]string{"[NEW]", "[UPDATE]", "[DESTROY]"}, rest[0]) {
			event = rest[0]
		} else if _, err := strconv.ParseFloat(strings.Trim(rest[0], "[]"), 64); err != nil {
			break
		}
	}
	return event, rest
}

// entryEnds are the words of one direction of an entry.
type entryEnds struct {
	src, dst     netip.Addr
	sport, dport uint16
	id           uint16
	kind, code   uint8
}

func (e *entryEnds) tuple(p nat.Proto) nat.Tuple {
	if isICMP(p) {
		e.sport, e.dport = e.id, e.id
	}
	return nat.TupleOf(p, netip.AddrPortFrom(e.src, e.sport), netip.AddrPortFrom(e.dst, e.dport))
}

// parseEntry reads "[ipv4 2] tcp 6 431999 ESTABLISHED src=A dst=B sport=C dport=D [UNREPLIED] src=... mark=0 use=1".
func parseEntry(words []string) (Conn, error) {
	if len(words) > 2 && (words[0] == "ipv4" || words[0] == "ipv6") {
		words = words[2:]
	}
	if len(words) > 0 && strings.HasPrefix(words[0], "<") {
		return Conn{}, errors.New("XML is not read: want what conntrack -L prints without -o xml")
	}
	if len(words) < 3 {
		return Conn{}, errors.New("want an entry as conntrack -L prints it: PROTOCOL NUMBER SECONDS [STATE] src= dst= and so on")
	}
	number, err := strconv.ParseUint(words[1], 10, 8)
	if err != nil {
		return Conn{}, fmt.Errorf("%q: want the protocol's number behind its name", words[1])
	}
	c := Conn{Status: nat.SeenReply | nat.SrcNATDone | nat.DstNATDone}
	proto := nat.Proto(number)
	ends := []entryEnds{}
	for _, word := range words[2:] {
		key, value, pair := strings.Cut(word, "=")
		switch {
		case !pair:
			c.entryWord(proto, word)
			continue
		case key == "src":
			ends = append(ends, entryEnds{})
		case len(ends) == 0:
			return Conn{}, fmt.Errorf("%s stands in front of src=", word)
		}
		if err := c.entryPair(&ends[len(ends)-1], key, value); err != nil {
			return Conn{}, fmt.Errorf("%s: %w", word, err)
		}
	}
	if len(ends) != 2 {
		return Conn{}, fmt.Errorf("want src= twice, of the first packet and of an answer, got it %d times", len(ends))
	}
	c.kind, c.code = ends[0].kind, ends[0].code
	c.Original, c.Reply = ends[0].tuple(proto), ends[1].tuple(proto)
	four := ends[0].src.Is4()
	if !c.Original.IsValid() || !c.Reply.IsValid() || ends[0].dst.Is4() != four || ends[1].src.Is4() != four || ends[1].dst.Is4() != four {
		return Conn{}, errors.New("want src= and dst= of both directions, of one family")
	}
	if c.Reply.Dst() != c.Original.Src() {
		c.Set(nat.SrcNAT)
	}
	if c.Reply.Src() != c.Original.Dst() {
		c.Set(nat.DstNAT)
	}
	return c, nil
}

// entryWord is a word without "=": seconds, a state, a flag in brackets.
func (c *Conn) entryWord(p nat.Proto, word string) {
	if seconds, err := strconv.ParseUint(word, 10, 31); err == nil {
		c.expires = int64(time.Duration(seconds) * time.Second)
	}
	switch word {
	case "[ASSURED]":
		c.Set(nat.Assured)
	case "[UNREPLIED]":
		c.Status &^= nat.SeenReply
	}
	if i := slices.Index(tcpNames[:], word); i >= 0 && p == nat.TCP {
		c.tcp.state = TCPState(i)
	}
	if i := slices.Index(sctpNames[:], word); i >= 0 && p == nat.SCTP {
		c.extend().sctp.state = sctpState(i)
	}
}

func (c *Conn) entryPair(e *entryEnds, key, value string) (err error) {
	number := func(bits int) uint64 {
		n, wrong := strconv.ParseUint(value, 0, bits)
		if wrong != nil {
			err = errors.New("want a number")
		}
		return n
	}
	switch key {
	case "src":
		e.src, err = entryAddress(value)
	case "dst":
		e.dst, err = entryAddress(value)
	case "sport", "srckey":
		e.sport = uint16(number(16))
	case "dport", "dstkey":
		e.dport = uint16(number(16))
	case "id":
		e.id = uint16(number(32))
	case "type":
		e.kind = uint8(number(8))
	case "code":
		e.code = uint8(number(8))
	case "mark":
		c.Mark = uint32(number(32))
	case "zone":
		c.Zone.ID = uint16(number(16))
	case "zone-orig":
		c.Zone.ID, c.Zone.NotReply = uint16(number(16)), true
	case "zone-reply":
		c.Zone.ID, c.Zone.NotOriginal = uint16(number(16)), true
	}
	return err // others tell nothing of where packets go: use, packets, bytes, secctx, delta-time
}

func entryAddress(value string) (netip.Addr, error) {
	if nat.BlackedOut(value) {
		return netip.Addr{}, errors.New("the address was made unreadable: put one in its place, such as one of 203.0.113.0/24, and the same in all that tells of the node")
	}
	return netip.ParseAddr(value)
}

// Restore puts an entry that was read into the table as it was, with as long to live from now on as it told; false: another has one of its tuples.
func (t *Table) Restore(c Conn) bool {
	c.Status &^= nat.Confirmed
	if c.more != nil { // the table's connection changes as packets come
		more := *c.more
		c.more = &more
	}
	return t.Confirm(&c)
}
