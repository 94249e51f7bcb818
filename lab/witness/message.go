package witness

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// readSize holds the largest message: an NFQUEUE packet of 64 KiB with its attributes.
const readSize = 1<<16 + 1<<12

// Subsystems and messages of linux/netfilter/nfnetlink*.h.
const (
	ctGet          = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	ctGetStats     = unix.NFNL_SUBSYS_CTNETLINK<<8 | 5 // IPCTNL_MSG_CT_GET_STATS
	ctStatsEntries = 1                                 // CTA_STATS_GLOBAL_ENTRIES
	ctGetStatsCPU  = unix.NFNL_SUBSYS_CTNETLINK<<8 | 4 // IPCTNL_MSG_CT_GET_STATS_CPU
	logPacket      = unix.NFNL_SUBSYS_ULOG << 8        // NFULNL_MSG_PACKET
	logConfig      = unix.NFNL_SUBSYS_ULOG<<8 | 1      // NFULNL_MSG_CONFIG
	nftTrace       = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_TRACE
	nftGetTable    = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETTABLE
	nftNewTable    = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWTABLE
	nftGetRule     = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETRULE
	nftGetChain    = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN
	nftNewChain    = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWCHAIN
	nftNewRule     = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWRULE
	nftGetGen      = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN
	nftNewGen      = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWGEN
	attributeFlags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
)

// Verdicts of linux/netfilter.h.
const (
	nfDrop        = 0    // NF_DROP
	nfAccept      = 1    // NF_ACCEPT
	nfStolen      = 2    // NF_STOLEN
	nfQueue       = 3    // NF_QUEUE
	nfVerdictMask = 0xff // NF_VERDICT_MASK
)

var errMalformed = errors.New("malformed netlink message")

// frame is one netlink message: its body starts with struct nfgenmsg for those of nfnetlink.
type frame struct {
	kind, flags uint16
	seq         uint32
	body        []byte
}

const (
	frameHeader = unix.SizeofNlMsghdr
	genHeader   = 4 // struct nfgenmsg: family, version, resource id (big endian)
)

// nextFrame splits the first message off b.
func nextFrame(b []byte) (m frame, rest []byte, err error) {
	if len(b) < frameHeader {
		return frame{}, nil, errMalformed
	}
	n := int(binary.NativeEndian.Uint32(b))
	if n < frameHeader || n > len(b) {
		return frame{}, nil, errMalformed
	}
	m = frame{
		kind:  binary.NativeEndian.Uint16(b[4:]),
		flags: binary.NativeEndian.Uint16(b[6:]),
		seq:   binary.NativeEndian.Uint32(b[8:]),
		body:  b[frameHeader:n],
	}
	return m, b[min(align(n), len(b)):], nil
}

// resource is nfgenmsg's resource id: a queue's or a log group's number.
func (m frame) resource() uint16 {
	if len(m.body) < genHeader {
		return 0
	}
	return binary.BigEndian.Uint16(m.body[2:])
}

// attributes are those behind nfgenmsg.
func (m frame) attributes() attributes {
	if len(m.body) < genHeader {
		return nil
	}
	return attributes(m.body[genHeader:])
}

// attributes is a run of netlink attributes, read without copying.
type attributes []byte

// next splits the first attribute off; ok is false at the end, and at bytes that are none.
func (a *attributes) next() (kind uint16, value []byte, ok bool) {
	b := *a
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, false
	}
	*a = b[min(align(n), len(b)):]
	return binary.NativeEndian.Uint16(b[2:]) &^ attributeFlags, b[unix.SizeofNlAttr:n], true
}

func align(n int) int { return (n + 3) &^ 3 }

// u32 and u64 read big-endian numbers, and 0 from an attribute that is too short.
func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

func u64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.BigEndian.Uint64(b)
}

// text is a string attribute without its NUL.
func text(b []byte) []byte {
	for i, c := range b {
		if c == 0 {
			return b[:i]
		}
	}
	return b
}

// message is a request under construction.
type message struct{ b []byte }

// newMessage starts a request; flags are added to NLM_F_REQUEST.
func newMessage(kind, flags uint16, family uint8, resource uint16) *message {
	m := &message{b: []byte{0, 0, 0, 0}}
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = binary.NativeEndian.AppendUint16(m.b, unix.NLM_F_REQUEST|flags)
	m.b = append(m.b, 0, 0, 0, 0, 0, 0, 0, 0)
	m.b = append(m.b, family, unix.NFNETLINK_V0)
	m.b = binary.BigEndian.AppendUint16(m.b, resource)
	return m
}

func (m *message) bytes(kind uint16, value []byte) *message {
	m.b = binary.NativeEndian.AppendUint16(m.b, uint16(unix.SizeofNlAttr+len(value)))
	m.b = binary.NativeEndian.AppendUint16(m.b, kind)
	m.b = append(m.b, value...)
	for len(m.b)%4 != 0 {
		m.b = append(m.b, 0)
	}
	return m
}

func (m *message) u32(kind uint16, v uint32) *message {
	return m.bytes(kind, binary.BigEndian.AppendUint32(nil, v))
}

func (m *message) u16(kind uint16, v uint16) *message {
	return m.bytes(kind, binary.BigEndian.AppendUint16(nil, v))
}

// nest adds an attribute that holds those which fill adds.
func (m *message) nest(kind uint16, fill func(*message)) {
	at := len(m.b)
	m.bytes(kind|unix.NLA_F_NESTED, nil)
	fill(m)
	binary.NativeEndian.PutUint16(m.b[at:], uint16(len(m.b)-at))
}

// finish writes length and sequence number.
func (m *message) finish(seq uint32) []byte {
	binary.NativeEndian.PutUint32(m.b, uint32(len(m.b)))
	binary.NativeEndian.PutUint32(m.b[8:], seq)
	return m.b
}
