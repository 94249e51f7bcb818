package gateway

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/rules"
)

// Spec is a packet to follow, as people write it: who sends it, or by which device it comes in.
type Spec struct {
	Ask           // In is left to the caller, who knows the node
	From   string // the node, pod or client of a cluster that sends it; "" where none is named
	Device string // as it is written: "" for none, "node" for a packet of the node itself

	// AnyPort: no source port was written. The tuple has anySource, which stands for any.
	AnyPort bool
}

// anySource is a port that clients send from, where no port is written.
const anySource = 40000

// flagLetters are the TCP flags in the order of their bits (RFC 9293, RFC 3168).
const flagLetters = "FSRPAUEW"

// ParseSpec reads "tcp SRC:PORT > DST:PORT", or without the source's port, and what may stand behind it, in any order: in DEVICE, from CLIENT, mark N,
// flags LETTERS, type N or N/CODE, uid N, gid N. Without a type an ICMP packet is an echo request; it is "icmp SRC > DST", or
// has its identifier at both ends, as conntrack prints it. A packet as the kernel's log, nft monitor trace, tcpdump or conntrack prints it is read, too.
func ParseSpec(text string) (Spec, error) {
	text, err := posted(text)
	if err != nil {
		return Spec{}, err
	}
	words := strings.Fields(text)
	anyPort := false
	if len(words) > 3 {
		if proto, err := nat.ParseProto(words[0]); err == nil && proto.HasPorts() {
			if src, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(words[1], "["), "]")); err == nil {
				words[1], anyPort = netip.AddrPortFrom(src, anySource).String(), true
			}
		}
	}
	tuple, err := nat.ParseTuple(strings.Join(words[:min(4, len(words))], " "))
	if err != nil {
		return Spec{}, err
	}
	s := Spec{Ask: AskOf(tuple), AnyPort: anyPort}
	if icmp := s.Type != 0; icmp && tuple.Src().Port() != tuple.Dst().Port() {
		return Spec{}, fmt.Errorf("%q: %s has an identifier, which is the same at both ends, and no ports: want \"%s %s > %s\", with a type behind it if it is no ping",
			text, tuple.Proto(), tuple.Proto(), tuple.Src().Addr(), tuple.Dst().Addr())
	}
	if len(words) > 4 {
		for rest := words[4:]; len(rest) > 0; rest = rest[2:] {
			if len(rest) == 1 {
				return Spec{}, fmt.Errorf("%q: %s is not followed by anything", text, rest[0])
			}
			if err := s.option(rest[0], rest[1]); err != nil {
				return Spec{}, fmt.Errorf("%q: %w", text, err)
			}
		}
	}
	return s, nil
}

func (s *Spec) option(name, value string) error {
	switch name {
	case "in":
		s.Device = value
	case "from":
		s.From = value
	case "mark":
		n, err := strconv.ParseUint(value, 0, 32)
		if err != nil {
			return fmt.Errorf("mark %s: want a number", value)
		}
		s.Mark = uint32(n)
	case "uid", "gid":
		n, err := strconv.ParseUint(value, 10, 32)
		if err != nil || n == 1<<32-1 {
			return fmt.Errorf("%s %s: want a number below 4294967295", name, value)
		}
		id := &s.UID
		if name == "gid" {
			id = &s.GID
		}
		*id = rules.ID{Known: true, Number: uint32(n)}
	case "flags":
		s.Flags = 0
		for _, letter := range value {
			i := strings.IndexRune(flagLetters, letter)
			if i < 0 {
				return fmt.Errorf("flags %s: want letters of %s", value, flagLetters)
			}
			s.Flags |= 1 << i
		}
	case "type":
		if AskOf(s.Tuple).Type == 0 {
			return fmt.Errorf("type %s: %s has no type, ICMP has", value, s.Tuple.Proto())
		}
		kind, code, _ := strings.Cut(value, "/")
		n, err := strconv.ParseUint(kind, 10, 8)
		m, err2 := strconv.ParseUint("0"+code, 10, 9)
		if errors.Join(err, err2) != nil || m > 255 {
			return fmt.Errorf("type %s: want an ICMP type, such as 8 or 3/1", value)
		}
		s.Type, s.Code = uint8(n), uint8(m)
	default:
		return fmt.Errorf("%s is not known: want in, from, mark, flags, type, uid or gid", name)
	}
	return nil
}

// String is what ParseSpec reads.
func (s Spec) String() string {
	var b strings.Builder
	if s.AnyPort {
		fmt.Fprintf(&b, "%s %s > %s", s.Tuple.Proto(), s.Tuple.Src().Addr(), s.Tuple.Dst())
	} else {
		b.WriteString(s.Tuple.String())
	}
	if s.Device != "" {
		b.WriteString(" in " + s.Device)
	}
	if s.From != "" {
		b.WriteString(" from " + s.From)
	}
	if s.Mark != 0 {
		fmt.Fprintf(&b, " mark %#x", s.Mark)
	}
	if s.Flags != 0 {
		b.WriteString(" flags ")
		for i, letter := range flagLetters {
			if s.Flags&(1<<i) != 0 {
				b.WriteRune(letter)
			}
		}
	}
	if plain := AskOf(s.Tuple); s.Type != plain.Type || s.Code != plain.Code {
		fmt.Fprintf(&b, " type %d/%d", s.Type, s.Code)
	}
	for _, id := range []struct {
		name string
		rules.ID
	}{{"uid", s.UID}, {"gid", s.GID}} {
		if id.Known {
			fmt.Fprintf(&b, " %s %d", id.name, id.Number)
		}
	}
	return b.String()
}

// Anew is the packet from a source port that none of the node's connections has, where no port was written: it is of a new one.
func (s Spec) Anew(f *Facts) Spec {
	for port := anySource; s.AnyPort && port <= math.MaxUint16; port++ {
		s.Tuple = s.Tuple.WithSrc(netip.AddrPortFrom(s.Tuple.Src().Addr(), uint16(port)))
		if len(f.entriesOf(s.Tuple)) == 0 {
			break
		}
	}
	return s
}

// ReadSpecs reads a packet a line; an empty line, or one that begins with #, is none. Of what tcpdump prints those that leave the node are passed over,
// and what is not IP; of several lines that trace one packet all but the first.
func ReadSpecs(r io.Reader) ([]Spec, error) {
	var out []Spec
	scan := bufio.NewScanner(r)
	number, told := 0, traces{}
	next := func() (string, bool) {
		more := scan.Scan()
		number++
		return scan.Text(), more
	}
	for line, ok := next(); ok; line, ok = next() {
		text, skip := dumpedLine(strings.TrimSpace(line), next)
		if text == "" || text[0] == '#' || skip || told.again(text) {
			continue
		}
		s, err := ParseSpec(text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
		out = append(out, s)
	}
	return out, scan.Err()
}
