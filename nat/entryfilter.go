package nat

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// EntryFilter chooses among connection tracking entries as the options of conntrack(8) do. The zero one takes all.
type EntryFilter struct {
	Family     *Family      // nil: both
	Proto      Proto        // 0: any
	Src, Dst   netip.Prefix // of the original direction; not valid: any
	ReplySrc   netip.Prefix // of the reply direction
	ReplyDst   netip.Prefix
	Sport      uint16 // of the original direction, in host byte order; 0: any
	Dport      uint16
	ReplySport uint16
	ReplyDport uint16
	State      string // of TCP and SCTP: "ESTABLISHED"; "": any
	Mark       *Mark  // nil: any
	Zone       *uint16
	Status     Status // bits that are all set
	Unreplied  bool   // no packet came back
	SrcNAT     bool   // the source was translated
	DstNAT     bool   // the destination was
	AnyNAT     bool   // one of them was
}

// Mark is a mark and the bits of it that count.
type Mark struct{ Value, Mask uint32 }

// ParseMark reads VALUE or VALUE/MASK, decimal or with 0x.
func ParseMark(text string) (Mark, error) {
	value, mask, masked := strings.Cut(text, "/")
	m := Mark{Mask: ^uint32(0)}
	for _, part := range []struct {
		text string
		into *uint32
		read bool
	}{{value, &m.Value, true}, {mask, &m.Mask, masked}} {
		if !part.read {
			continue
		}
		n, err := strconv.ParseUint(part.text, 0, 32)
		if err != nil {
			return Mark{}, fmt.Errorf("mark %q: want VALUE or VALUE/MASK", text)
		}
		*part.into = uint32(n)
	}
	return m, nil
}

// ParseStatusFilter reads the words of conntrack's --status, with commas between: ASSURED, SEEN_REPLY, FIXED_TIMEOUT, EXPECTED, CONFIRMED and
// the others of Status, and UNREPLIED, UNSET for an entry without an answer.
func (f *EntryFilter) ParseStatusFilter(text string) error {
	for word := range strings.SplitSeq(text, ",") {
		word = strings.ToUpper(strings.TrimSpace(word))
		if word == "UNREPLIED" || word == "UNSET" {
			f.Unreplied = true
			continue
		}
		var bit Status
		if err := bit.UnmarshalText([]byte(word)); err != nil || bit == 0 {
			return fmt.Errorf("status %q is not known: want UNREPLIED, %s", word, strings.Join(statusNames[:], ", "))
		}
		f.Status |= bit
	}
	return nil
}

// Takes reports whether an entry is one of those.
func (f *EntryFilter) Takes(e *Entry) bool {
	original, reply := e.Original, e.Reply
	within := func(p netip.Prefix, a netip.Addr) bool { return !p.IsValid() || p.Contains(a) }
	is := func(want, got uint16) bool { return want == 0 || want == got }
	source, destination := reply.Dst() != original.Src(), reply.Src() != original.Dst()
	switch {
	case f.Family != nil && *f.Family != FamilyOf(original.Src().Addr()),
		f.Proto != 0 && f.Proto != original.Proto(),
		!within(f.Src, original.Src().Addr()), !within(f.Dst, original.Dst().Addr()),
		!within(f.ReplySrc, reply.Src().Addr()), !within(f.ReplyDst, reply.Dst().Addr()),
		!is(f.Sport, original.Src().Port()), !is(f.Dport, original.Dst().Port()),
		!is(f.ReplySport, reply.Src().Port()), !is(f.ReplyDport, reply.Dst().Port()),
		f.State != "" && !strings.EqualFold(f.State, e.State),
		f.Mark != nil && e.Mark&f.Mark.Mask != f.Mark.Value&f.Mark.Mask,
		f.Zone != nil && e.Zone != *f.Zone,
		e.Status&f.Status != f.Status,
		f.Unreplied && e.Has(SeenReply),
		f.SrcNAT && !source, f.DstNAT && !destination, f.AnyNAT && !source && !destination:
		return false
	}
	return true
}
