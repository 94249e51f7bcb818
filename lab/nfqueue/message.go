package nfqueue

import (
	"encoding/binary"
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Messages and attributes of linux/netfilter/nfnetlink_queue.h.
const (
	messagePacket  = unix.NFNL_SUBSYS_QUEUE << 8   // NFQNL_MSG_PACKET
	messageVerdict = unix.NFNL_SUBSYS_QUEUE<<8 | 1 // NFQNL_MSG_VERDICT
	messageConfig  = unix.NFNL_SUBSYS_QUEUE<<8 | 2 // NFQNL_MSG_CONFIG
	// NFQNL_MSG_VERDICT_BATCH: of all that wait up to that id
	messageVerdictBatch = unix.NFNL_SUBSYS_QUEUE<<8 | 3

	attrPacketHeader  = 1  // NFQA_PACKET_HDR: id u32, protocol u16, hook u8
	attrVerdictHeader = 2  // NFQA_VERDICT_HDR: verdict u32, id u32
	attrMark          = 3  // NFQA_MARK
	attrInDevice      = 5  // NFQA_IFINDEX_INDEV
	attrOutDevice     = 6  // NFQA_IFINDEX_OUTDEV
	attrAddress       = 9  // NFQA_HWADDR: length u16, padding, address [8]
	attrPayload       = 10 // NFQA_PAYLOAD
	attrLength        = 13 // NFQA_CAP_LEN: of a packet of which the payload is not all
	attrInfo          = 14 // NFQA_SKB_INFO
	attrUID           = 16 // NFQA_UID
	attrGID           = 17 // NFQA_GID

	configCommand  = 1 // NFQA_CFG_CMD: command u8, padding, family u16
	configParams   = 2 // NFQA_CFG_PARAMS: range u32, mode u8
	configLength   = 3 // NFQA_CFG_QUEUE_MAXLEN
	configMask     = 4 // NFQA_CFG_MASK
	configFlags    = 5 // NFQA_CFG_FLAGS
	commandBind    = 1 // NFQNL_CFG_CMD_BIND
	commandUnbind  = 2 // NFQNL_CFG_CMD_UNBIND
	copyPacket     = 2 // NFQNL_COPY_PACKET
	flagFailOpen   = 1 // NFQA_CFG_F_FAIL_OPEN
	flagGSO        = 4 // NFQA_CFG_F_GSO
	flagOwner      = 8 // NFQA_CFG_F_UID_GID
	infoUnsummed   = 1 // NFQA_SKB_CSUMNOTREADY
	infoSegments   = 2 // NFQA_SKB_GSO
	infoUnverified = 4 // NFQA_SKB_CSUM_NOTVERIFIED

	attributeFlags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	genHeader      = 4 // struct nfgenmsg
)

var errMalformed = errors.New("malformed netlink message")

// next splits the first message off b: its kind and what follows its header.
func next(b []byte) (kind uint16, body, rest []byte, err error) {
	if len(b) < unix.SizeofNlMsghdr {
		return 0, nil, nil, errMalformed
	}
	n := int(binary.NativeEndian.Uint32(b))
	if n < unix.SizeofNlMsghdr || n > len(b) {
		return 0, nil, nil, errMalformed
	}
	return binary.NativeEndian.Uint16(b[4:]), b[unix.SizeofNlMsghdr:n], b[min(align(n), len(b)):], nil
}

// refusal is the error that an NLMSG_ERROR message tells of; nil for an acknowledgement.
func refusal(body []byte) error {
	if len(body) < 4 {
		return errMalformed
	}
	if code := int32(binary.NativeEndian.Uint32(body)); code != 0 {
		return syscall.Errno(-code)
	}
	return nil
}

func align(n int) int { return (n + 3) &^ 3 }

// attribute splits the first attribute off b; ok is false at the end, and at bytes that are none.
func attribute(b []byte) (kind uint16, value, rest []byte, ok bool) {
	if len(b) < unix.SizeofNlAttr {
		return 0, nil, nil, false
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < unix.SizeofNlAttr || n > len(b) {
		return 0, nil, nil, false
	}
	return binary.NativeEndian.Uint16(b[2:]) &^ attributeFlags, b[unix.SizeofNlAttr:n], b[min(align(n), len(b)):], true
}

// appendHeader begins a message to a queue; finish writes its length.
func appendHeader(b []byte, kind, flags, queue uint16) []byte {
	b = append(b, 0, 0, 0, 0)
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0)
	b = append(b, unix.AF_UNSPEC, unix.NFNETLINK_V0)
	return binary.BigEndian.AppendUint16(b, queue)
}

func appendAttribute(b []byte, kind uint16, value []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofNlAttr+len(value)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func appendUint32(b []byte, kind uint16, v uint32) []byte {
	var value [4]byte
	binary.BigEndian.PutUint32(value[:], v)
	return appendAttribute(b, kind, value[:])
}

// finish writes the length of the message that begins at an offset.
func finish(b []byte, at int) []byte {
	binary.NativeEndian.PutUint32(b[at:], uint32(len(b)-at))
	return b
}
