package test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/conntrack"
	"natlab/nat/gateway"
)

// kernelConn is a connection as ctnetlink tells of it.
type kernelConn struct {
	original, reply nat.Tuple
	status, mark    uint32
	timeout         uint32 // seconds
	state           string // of TCP, SCTP and DCCP
}

func (c kernelConn) String() string {
	return entryFacts{c.original, c.reply, nat.Status(c.status), c.mark, c.state, roughly(int(c.timeout))}.String()
}

// sctpStates are the names of enum sctp_conntrack.
var sctpStates = [...]string{
	"NONE", "CLOSED", "COOKIE_WAIT", "COOKIE_ECHOED", "ESTABLISHED", "SHUTDOWN_SENT", "SHUTDOWN_RECD", "SHUTDOWN_ACK_SENT", "HEARTBEAT_SENT",
}

// dccpStates are the names of enum ct_dccp_states.
var dccpStates = [...]string{"NONE", "REQUEST", "RESPOND", "PARTOPEN", "OPEN", "CLOSEREQ", "CLOSING", "TIMEWAIT"}

// entries are the kernel's connections, a line each, sorted. A dump takes each lock of the machine's whole hash table: few are listed, and asked
// for one by one.
func (k *kernelNode) entries(t *testing.T) []string {
	t.Helper()
	if few, ok := k.few(t); ok {
		return few
	}
	var out []string
	require.NoError(t, sendNetfilter(k.ask, k.family, ctGet, unix.NLM_F_DUMP, nil))
	for done := false; !done; {
		n, _, err := unix.Recvfrom(k.ask, k.buf, 0)
		require.NoError(t, err)
		for b := k.buf[:n]; len(b) >= unix.NLMSG_HDRLEN && !done; {
			size, kind := int(binary.NativeEndian.Uint32(b)), binary.NativeEndian.Uint16(b[4:])
			if done = kind == unix.NLMSG_DONE; !done {
				require.EqualValues(t, ctNew, kind)
				out = append(out, readConn(b[20:size]).String())
			}
			b = b[min(len(b), (size+3)&^3):]
		}
	}
	slices.Sort(out)
	return out
}

// few are the entries where the kernel's list of them is read at once; ok is false where it is not, or has one that is not there to ask for.
func (k *kernelNode) few(t *testing.T) (out []string, ok bool) {
	t.Helper()
	n, err := unix.Pread(k.listing, k.buf, 0)
	if err != nil {
		return nil, false
	}
	if more, err := unix.Pread(k.listing, k.buf[n:], int64(n)); more > 0 || err != nil {
		return nil, false
	}
	entries, ok := witness.Listed(k.buf[:n])
	if !ok {
		return nil, false
	}
	for _, e := range entries {
		c, there := k.entry(t, e.Original, e.Kind, e.Code)
		if !there || c.original != e.Original {
			return nil, false
		}
		out = append(out, c.String())
	}
	slices.Sort(out)
	return out, true
}

// Attributes of linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoInfo, ctaTimeout, ctaMark = 1, 2, 3, 4, 7, 8

	ctaTupleIP, ctaTupleProto, ctaSrc, ctaDst, ctaSrc6, ctaDst6 = 1, 2, 1, 2, 3, 4

	ctaProtoNum, ctaSrcPort, ctaDstPort, ctaICMPID, ctaICMP6ID = 1, 2, 3, 4, 7 // behind an identifier its type and code

	ctaProtoInfoTCP, ctaProtoInfoDCCP, ctaProtoInfoSCTP, ctaProtoInfoState = 1, 2, 3, 1

	ctNew, ctGet = unix.NFNL_SUBSYS_CTNETLINK << 8, unix.NFNL_SUBSYS_CTNETLINK<<8 | 1
)

// entry is the kernel's connection of a packet, in either direction; false where there is none. The library's Get waits
// for the end of a dump that the kernel announces (NLM_F_MULTI) and never sends.
func (k *kernelNode) entry(t *testing.T, tuple nat.Tuple, kind, code uint8) (c kernelConn, ok bool) {
	t.Helper()
	port := func(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }
	proto := attribute(ctaProtoNum, []byte{uint8(tuple.Proto())})
	src, dst, id := uint16(ctaSrc), uint16(ctaDst), uint16(ctaICMPID)
	if k.family == nat.IPv6 {
		src, dst, id = ctaSrc6, ctaDst6, ctaICMP6ID
	}
	if p := tuple.Proto(); p == nat.ICMP && id == ctaICMPID || p == nat.ICMPv6 && id == ctaICMP6ID {
		proto = slices.Concat(proto, attribute(id, port(tuple.Src().Port())), attribute(id+1, []byte{kind}), attribute(id+2, []byte{code}))
	} else {
		proto = slices.Concat(proto, attribute(ctaSrcPort, port(tuple.Src().Port())), attribute(ctaDstPort, port(tuple.Dst().Port())))
	}
	ip := slices.Concat(attribute(src, tuple.Src().Addr().AsSlice()), attribute(dst, tuple.Dst().Addr().AsSlice()))
	ask := attribute(ctaTupleOrig|unix.NLA_F_NESTED, slices.Concat(
		attribute(ctaTupleIP|unix.NLA_F_NESTED, ip), attribute(ctaTupleProto|unix.NLA_F_NESTED, proto)))
	require.NoError(t, sendNetfilter(k.ask, k.family, ctGet, 0, ask))
	n, _, err := unix.Recvfrom(k.ask, k.buf, 0)
	require.NoError(t, err)
	b := k.buf[:n]
	require.Greater(t, n, 20)
	switch kind := binary.NativeEndian.Uint16(b[4:]); kind {
	case unix.NLMSG_ERROR:
		errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[16:])))
		if !errors.Is(errno, unix.ENOENT) && !errors.Is(errno, unix.EINVAL) && !errors.Is(errno, unix.EOPNOTSUPP) { // an ICMP type that nothing answers
			require.NoError(t, errno)
		}
		return c, false
	default:
		require.EqualValues(t, ctNew, kind)
	}
	return readConn(b[20:]), true
}

// readConn is a connection of what the kernel tells of it.
func readConn(b []byte) (c kernelConn) {
	attributes(b, func(kind uint16, v []byte) {
		switch kind {
		case ctaTupleOrig:
			c.original = readTuple(v)
		case ctaTupleReply:
			c.reply = readTuple(v)
		case ctaStatus:
			c.status = binary.BigEndian.Uint32(v)
		case ctaMark:
			c.mark = binary.BigEndian.Uint32(v)
		case ctaTimeout:
			c.timeout = binary.BigEndian.Uint32(v)
		case ctaProtoInfo:
			attributes(v, func(kind uint16, v []byte) {
				of := kind
				attributes(v, func(kind uint16, v []byte) {
					switch {
					case kind != ctaProtoInfoState:
					case of == ctaProtoInfoTCP:
						c.state = conntrack.TCPState(v[0]).String()
					case of == ctaProtoInfoSCTP:
						c.state = sctpStates[v[0]]
					case of == ctaProtoInfoDCCP:
						c.state = dccpStates[v[0]]
					}
				})
			})
		}
	})
	return c
}

func readTuple(b []byte) nat.Tuple {
	var src, dst netip.Addr
	var proto nat.Proto
	var sport, dport uint16
	attributes(b, func(kind uint16, v []byte) {
		attributes(v, func(inner uint16, v []byte) {
			switch {
			case kind == ctaTupleIP && (inner == ctaSrc || inner == ctaSrc6):
				src, _ = netip.AddrFromSlice(v)
			case kind == ctaTupleIP && (inner == ctaDst || inner == ctaDst6):
				dst, _ = netip.AddrFromSlice(v)
			case kind == ctaTupleProto && inner == ctaProtoNum:
				proto = nat.Proto(v[0])
			case kind == ctaTupleProto && inner == ctaSrcPort:
				sport = binary.BigEndian.Uint16(v)
			case kind == ctaTupleProto && inner == ctaDstPort:
				dport = binary.BigEndian.Uint16(v)
			case kind == ctaTupleProto && (inner == ctaICMPID || inner == ctaICMP6ID):
				sport, dport = binary.BigEndian.Uint16(v), binary.BigEndian.Uint16(v)
			}
		})
	})
	return nat.TupleOf(proto, netip.AddrPortFrom(src, sport), netip.AddrPortFrom(dst, dport))
}

// attribute is one netlink attribute.
func attribute(kind uint16, value []byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}

// sendNetfilter sends one nfnetlink message.
func sendNetfilter(fd int, family nat.Family, kind, flags uint16, attributes []byte) error {
	domain := byte(unix.AF_INET)
	if family == nat.IPv6 {
		domain = unix.AF_INET6
	}
	msg := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+4+len(attributes)))
	msg = binary.NativeEndian.AppendUint16(msg, kind)
	msg = binary.NativeEndian.AppendUint16(msg, unix.NLM_F_REQUEST|flags)
	msg = append(msg, 0, 0, 0, 0, 0, 0, 0, 0, domain, 0, 0, 0)
	return unix.Sendto(fd, append(msg, attributes...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

// openNetfilter opens an nfnetlink socket in the namespace of this thread.
func openNetfilter() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, err
	}
	return fd, unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}

func emulatedEntries(g *gateway.Gateway, at time.Time) []string {
	var out []string
	for _, c := range g.Conns().Conns() {
		if !c.Has(nat.NATClash) { // those are hidden from a dump
			out = append(out, emulatedEntry(c, at))
		}
	}
	slices.Sort(out)
	return out
}

func emulatedEntry(c *conntrack.Conn, at time.Time) string { return factsOf(c, at).String() }

// entryFacts are all that an entry's line says.
type entryFacts struct {
	original, reply nat.Tuple
	status          nat.Status
	mark            uint32
	state, timeout  string
}

func factsOf(c *conntrack.Conn, at time.Time) entryFacts {
	return entryFacts{c.Original, c.Reply, c.Status, c.Mark, c.State(), roughly(int(c.Expires().Sub(at) / time.Second))}
}

// String says everything of an entry that both sides know. The timeout is rounded, since both clocks go on: for as long as a difference counts.
func (e entryFacts) String() string {
	return fmt.Sprintf("%s | %s | %s | mark %#x | %s | %s", e.original, e.reply, e.status, e.mark, e.state, e.timeout)
}

func roughly(seconds int) string {
	for _, full := range []int{10, 30, 60, 120, 180, 210, 240, 300, 480, 600, 43200, 432000} {
		if seconds >= full-10 && seconds <= full {
			return strconv.Itoa(full)
		}
	}
	return "odd"
}
