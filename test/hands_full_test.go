package test

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab"
)

// fillConnections gives vms100 as many connections as a namespace's table holds. All are assured, which the kernel ends for nobody else
// (early_drop, net/netfilter/nf_conntrack_core.c). The limit itself is the machine's, and no namespace but the first may change it.
func fillConnections(t *testing.T, l *lab.Lab) {
	t.Helper()
	h, err := l.Handle("vms100")
	require.NoError(t, err)
	require.NoError(t, h.Do(func() error {
		room, err := number("/proc/sys/net/netfilter/nf_conntrack_max")
		if err != nil {
			return err
		}
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		if err != nil {
			return err
		}
		defer unix.Close(fd) //nolint:errcheck // what it was for is counted below
		const together = 256 // messages of one call
		for i := 0; i < room; i += together {
			var b []byte
			for j := i; j < min(i+together, room); j++ {
				b = append(b, connection(uint32(j))...)
			}
			if _, err := unix.Write(fd, b); err != nil {
				return err
			}
		}
		made, err := number("/proc/sys/net/netfilter/nf_conntrack_count")
		if err == nil && made < room {
			err = errors.New(strconv.Itoa(made) + " connections were made")
		}
		return err
	}))
}

func number(file string) (int, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(b)))
}

// connection is the message that makes the ith of them, each of another client (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
func connection(i uint32) []byte {
	const (
		ctNew, assured          = unix.NFNL_SUBSYS_CTNETLINK << 8, 1<<1 | 1<<2 | 1<<3 // IPS_SEEN_REPLY, IPS_ASSURED, IPS_CONFIRMED
		nested                  = unix.NLA_F_NESTED
		original, reply         = 1 | nested, 2 | nested // CTA_TUPLE_ORIG, CTA_TUPLE_REPLY
		status, timeout         = 3, 7                   // CTA_STATUS, CTA_TIMEOUT
		addresses, protocol     = 1 | nested, 2 | nested // CTA_TUPLE_IP, CTA_TUPLE_PROTO
		source, destination     = 1, 2                   // CTA_IP_V4_SRC, CTA_IP_V4_DST
		proto, srcPort, dstPort = 1, 2, 3                // CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT
	)
	u16, u32 := binary.BigEndian.AppendUint16, binary.BigEndian.AppendUint32
	client, server := u32(nil, 198<<24|20<<16+i), []byte{198, 19, 0, 1}
	tuple := func(kind uint16, from, to []byte, fromPort, toPort uint16) []byte {
		return netlinkAttribute(kind,
			netlinkAttribute(addresses, netlinkAttribute(source, from), netlinkAttribute(destination, to)),
			netlinkAttribute(protocol, netlinkAttribute(proto, []byte{unix.IPPROTO_UDP}), netlinkAttribute(srcPort, u16(nil, fromPort)), netlinkAttribute(dstPort, u16(nil, toPort))))
	}
	body := []byte{unix.AF_INET, unix.NFNETLINK_V0, 0, 0}
	for _, a := range [][]byte{tuple(original, client, server, 1024, 9), tuple(reply, server, client, 9, 1024), netlinkAttribute(status, u32(nil, assured)), netlinkAttribute(timeout, u32(nil, 900))} {
		body = append(body, a...)
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+len(body))) //nolint:gosec // a hundred bytes
	b = binary.NativeEndian.AppendUint16(b, ctNew)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	return append(append(b, make([]byte, 8)...), body...)
}

// netlinkAttribute is a netlink attribute of some parts, with what it is filled up with.
func netlinkAttribute(kind uint16, parts ...[]byte) []byte {
	b := make([]byte, unix.SizeofNlAttr)
	for _, p := range parts {
		b = append(b, p...)
	}
	binary.NativeEndian.PutUint16(b, uint16(len(b))) //nolint:gosec // a hundred bytes
	binary.NativeEndian.PutUint16(b[2:], kind)
	return append(b, make([]byte, (4-len(b)%4)%4)...)
}
