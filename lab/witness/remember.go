package witness

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	ctnetlink "github.com/ti-mo/conntrack"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Attributes of linux/netfilter/nfnetlink_conntrack.h. The ctnetlink library has none for translations, which the kernel takes when an entry is made
// and at no other time.
const (
	ctNew = unix.NFNL_SUBSYS_CTNETLINK << 8 // IPCTNL_MSG_CT_NEW

	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4
	ctaNATSrc     = 6
	ctaTimeout    = 7
	ctaMark       = 8
	ctaNATDst     = 13
	ctaZone       = 18

	ctaTupleIP    = 1
	ctaTupleProto = 2
	ctaIPv4Src    = 1
	ctaIPv4Dst    = 2
	ctaIPv6Src    = 3
	ctaIPv6Dst    = 4

	ctaProtoNum     = 1
	ctaProtoSrcPort = 2
	ctaProtoDstPort = 3
	ctaICMPID       = 4 // and the type and code behind it
	ctaICMPv6ID     = 7

	ctaNATv4Min  = 1 // and the highest behind it
	ctaNATProto  = 3
	ctaNATv6Min  = 4
	ctaNATPort   = 1 // CTA_PROTONAT_PORT_MIN, and the highest behind it
	ctaInfoTCP   = 1 // CTA_PROTOINFO_TCP
	ctaTCPState  = 1
	ctaTCPFlags  = 4 // of the original direction, and of the reply's behind it
	tcpBeLiberal = 8 // IP_CT_TCP_FLAG_BE_LIBERAL
)

// Refused is an entry that a kernel did not take, and why.
type Refused struct {
	Entry  nat.Entry
	Reason string
}

// Remember gives a namespace's kernel connections as it would have tracked them itself: tuples, translation, status, state, mark and for how many seconds
// they are to live. One that stands already lives that long again. Windows of TCP are not known: it takes what is outside of them, too. Those that
// it does not take, or that cannot be told to it, are refused; other entries of the namespace stay.
func Remember(ns Namespace, all []nat.Entry) (refused []Refused, err error) {
	if len(all) == 0 {
		return nil, nil
	}
	var standing []nat.Entry
	err = ns.Do(func() error {
		s, err := openSocket(readSize)
		if err != nil {
			return err
		}
		defer s.close() //nolint:errcheck // every request was answered
		for _, e := range all {
			why := unloadable(e)
			if why == "" {
				err = s.request(newEntry(e), nil)
			}
			switch {
			case why != "":
				refused = append(refused, Refused{e, why})
			case errors.Is(err, unix.EEXIST):
				standing = append(standing, e)
			case ofEntry(err):
				refused = append(refused, Refused{e, "the kernel refuses it: " + err.Error()})
			case err != nil:
				return fmt.Errorf("%s: %w", e, err)
			}
		}
		return nil
	})
	if err == nil && len(standing) > 0 {
		var others []Refused
		others, err = renew(ns, standing)
		refused = append(refused, others...)
	}
	if err != nil {
		return refused, fmt.Errorf("connection tracking: %w", err)
	}
	return refused, nil
}

// ofEntry reports whether an error is about one entry alone, and not about connection tracking.
func ofEntry(err error) bool {
	return slices.ContainsFunc([]unix.Errno{unix.EINVAL, unix.EOPNOTSUPP, unix.ENOMEM, unix.EBUSY, unix.ENOENT, unix.ERANGE}, func(n unix.Errno) bool { return errors.Is(err, n) })
}

// renew gives entries that stand their time; those are refused that another has one of the tuples of.
func renew(ns Namespace, all []nat.Entry) (refused []Refused, err error) {
	type key struct {
		original nat.Tuple
		zone     uint16
	}
	is := map[key]ctnetlink.Flow{}
	err = eachEntry(ns, func(_ *ctnetlink.Conn, f ctnetlink.Flow) error {
		is[key{tupleOf(f.TupleOrig), f.Zone}] = f
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = ns.Do(func() error {
		c, err := ctnetlink.Dial(nil)
		if err != nil {
			return err
		}
		defer c.Close() //nolint:errcheck // every request was answered
		for _, e := range all {
			f, stands := is[key{e.Original, e.Zone}]
			if !stands || tupleOf(f.TupleReply) != e.Reply {
				refused = append(refused, Refused{e, "another entry has one of its tuples"})
				continue
			}
			err := c.Update(ctnetlink.Flow{Timeout: e.Seconds, Zone: f.Zone, TupleOrig: f.TupleOrig, TupleReply: f.TupleReply})
			if errors.Is(err, unix.ENOENT) {
				refused = append(refused, Refused{e, "it went while it was looked at"})
			} else if err != nil {
				return fmt.Errorf("%s: %w", e, err)
			}
		}
		return nil
	})
	return refused, err
}

// unloadable is why no kernel can be told of an entry; "" where it can.
func unloadable(e nat.Entry) string {
	switch p := e.Original.Proto(); {
	case p == nat.SCTP:
		return "its verification tags are not told, without which no packet belongs to it"
	case p == nat.DCCP:
		return "its sequence numbers are not told, without which no packet belongs to it"
	case p == nat.TCP && stateNumber(e.State) == 0:
		return "its state is not told"
	case e.Seconds == 0:
		return "its time is over"
	}
	return ""
}

func stateNumber(name string) uint8 {
	for i, is := range nat.TCPStates {
		if is == name {
			return uint8(i)
		}
	}
	return 0
}

func isICMPProto(p nat.Proto) bool { return p == nat.ICMP || p == nat.ICMPv6 }

// newEntry is the request for one. Its answers are told as those of a connection without translation, and the kernel changes them itself
// (ctnetlink_setup_nat): it takes a translation for one in no other way.
func newEntry(e nat.Entry) *message {
	family := uint8(unix.AF_INET)
	if e.Original.Src().Addr().Is6() {
		family = unix.AF_INET6
	}
	m := newMessage(ctNew, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_ACK, family, 0)
	m.tuple(ctaTupleOrig, e.Original, e.Kind, e.Code)
	m.tuple(ctaTupleReply, e.Original.Reply(), e.AnswerKind, e.Code)
	m.u32(ctaStatus, uint32(e.Status&(nat.SeenReply|nat.Assured)|nat.Confirmed))
	m.u32(ctaTimeout, e.Seconds)
	if e.Mark != 0 {
		m.u32(ctaMark, e.Mark)
	}
	if e.Zone != 0 {
		m.u16(ctaZone, e.Zone)
	}
	if e.Original.Proto() == nat.TCP {
		m.nest(ctaProtoInfo, func(m *message) {
			m.nest(ctaInfoTCP, func(m *message) {
				m.bytes(ctaTCPState, []byte{stateNumber(e.State)})
				m.bytes(ctaTCPFlags, []byte{tcpBeLiberal, tcpBeLiberal})
				m.bytes(ctaTCPFlags+1, []byte{tcpBeLiberal, tcpBeLiberal})
			})
		})
	}
	ports := ported(e.Original.Proto())
	m.translation(ctaNATDst, e.Reply.Src(), ports)
	m.translation(ctaNATSrc, e.Reply.Dst(), ports)
	return m
}

// ported reports whether a protocol's translation has ports, or what counts as one.
func ported(p nat.Proto) bool {
	switch p {
	case nat.TCP, nat.UDP, nat.UDPLite, nat.ICMP, nat.ICMPv6, nat.GRE:
		return true
	}
	return false
}

func (m *message) tuple(attribute uint16, t nat.Tuple, kind, code uint8) {
	p, src, dst := t.Parts()
	m.nest(attribute, func(m *message) {
		m.nest(ctaTupleIP, func(m *message) {
			from, to := uint16(ctaIPv4Src), uint16(ctaIPv4Dst)
			if src.Addr().Is6() {
				from, to = ctaIPv6Src, ctaIPv6Dst
			}
			m.bytes(from, src.Addr().AsSlice())
			m.bytes(to, dst.Addr().AsSlice())
		})
		m.nest(ctaTupleProto, func(m *message) {
			m.bytes(ctaProtoNum, []byte{uint8(p)})
			if isICMPProto(p) {
				id := uint16(ctaICMPID)
				if p == nat.ICMPv6 {
					id = ctaICMPv6ID
				}
				m.u16(id, src.Port())
				m.bytes(id+1, []byte{kind})
				m.bytes(id+2, []byte{code})
				return
			}
			m.u16(ctaProtoSrcPort, src.Port())
			m.u16(ctaProtoDstPort, dst.Port())
		})
	})
}

// translation is what one end becomes: that address and that port alone.
func (m *message) translation(attribute uint16, to netip.AddrPort, port bool) {
	m.nest(attribute, func(m *message) {
		low := uint16(ctaNATv4Min)
		if to.Addr().Is6() {
			low = ctaNATv6Min
		}
		m.bytes(low, to.Addr().AsSlice())
		m.bytes(low+1, to.Addr().AsSlice())
		if port {
			m.nest(ctaNATProto, func(m *message) {
				m.u16(ctaNATPort, to.Port())
				m.u16(ctaNATPort+1, to.Port())
			})
		}
	})
}
