package witness_test

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"natlab/lab/dataplane"
	"natlab/lab/netns"
	"natlab/lab/witness"
	"natlab/nat"
	"natlab/nat/proof"
)

// sendRaw sends one IPv4 packet from a namespace; the kernel fills in the header's checksum.
func sendRaw(t *testing.T, h netns.Handle, src, dst netip.Addr, proto nat.Proto, payload []byte) {
	t.Helper()
	require.NoError(t, h.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
		if err != nil {
			return err
		}
		return errors.Join(unix.Sendto(fd, ipv4(src, dst, proto, payload), 0, &unix.SockaddrInet4{Addr: dst.As4()}), unix.Close(fd))
	}))
}

func ipv4(src, dst netip.Addr, proto nat.Proto, payload []byte) []byte {
	b := make([]byte, 20, 20+len(payload))
	b[0], b[8], b[9] = 0x45, 64, byte(proto)
	binary.BigEndian.PutUint16(b[2:], uint16(20+len(payload)))
	copy(b[12:], src.AsSlice())
	copy(b[16:], dst.AsSlice())
	return append(b, payload...)
}

// ipv6 is a packet of IPv6 whose first header behind its own is of that number.
func ipv6(src, dst netip.Addr, next nat.Proto, payload []byte) []byte {
	b := make([]byte, 40, 40+len(payload))
	b[0], b[6], b[7] = 0x60, byte(next), 64
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	copy(b[8:], src.AsSlice())
	copy(b[24:], dst.AsSlice())
	return append(b, payload...)
}

func tcpHeader(src, dst uint16, flags byte) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	b[12], b[13] = 5<<4, flags
	return b
}

func udpHeader(src, dst uint16, payload []byte) []byte {
	b := make([]byte, 8, 8+len(payload))
	binary.BigEndian.PutUint16(b, src)
	binary.BigEndian.PutUint16(b[2:], dst)
	binary.BigEndian.PutUint16(b[4:], uint16(8+len(payload)))
	return append(b, payload...)
}

// vxlan is a frame for VNI 1 with an Ethernet header of the given type.
func vxlan(etherType uint16, payload []byte) []byte {
	b := make([]byte, 8+14, 8+14+len(payload))
	b[0], b[6] = 8, 1
	binary.BigEndian.PutUint16(b[20:], etherType)
	return append(b, payload...)
}

// Of what a tunnel carries, the taps take the first packets, and tell both headers.
func TestTunnels(t *testing.T) {
	pod, far := netip.MustParseAddr("10.244.1.2"), netip.MustParseAddr("10.244.2.2")
	inner := func(flags byte) []byte { return ipv4(pod, far, nat.TCP, tcpHeader(40000, 8080, flags)) }
	dgram := ipv4(pod, far, nat.UDP, udpHeader(53, 53, nil))
	const ipip = " in ipip 10.1.0.2:0 > 10.2.0.2:0"
	const inVXLAN = " in udp 10.1.0.2:5000 > 10.2.0.2:4789"
	rows := []struct {
		name    string
		proto   nat.Proto
		payload []byte
		want    string // the packet as the node's taps see it; "" for one that they let pass
	}{
		{"ipip SYN", nat.IPIP, inner(0x02), "tcp 10.244.1.2:40000 > 10.244.2.2:8080 0x0" + ipip},
		{"ipip RST", nat.IPIP, inner(0x14), "tcp 10.244.1.2:40000 > 10.244.2.2:8080 0x0" + ipip},
		{"ipip ACK", nat.IPIP, inner(0x10), ""},
		{"ipip UDP", nat.IPIP, dgram, "udp 10.244.1.2:53 > 10.244.2.2:53 0x0" + ipip},
		{"vxlan SYN", nat.UDP, udpHeader(5000, 4789, vxlan(0x0800, inner(0x02))), "tcp 10.244.1.2:40000 > 10.244.2.2:8080 0x0" + inVXLAN},
		{"vxlan ACK", nat.UDP, udpHeader(5000, 4789, vxlan(0x0800, inner(0x10))), ""},
		{"vxlan UDP", nat.UDP, udpHeader(5000, 4789, vxlan(0x0800, dgram)), "udp 10.244.1.2:53 > 10.244.2.2:53 0x0" + inVXLAN},
		{"vxlan ARP", nat.UDP, udpHeader(5000, 4789, vxlan(0x0806, make([]byte, 46))), ""},
		{"TCP ACK", nat.TCP, tcpHeader(1, 2, 0x10), ""},
	}
	w := newWire(t)
	s := w.watch(t, w.install(t, dataplane.NFT, "*filter\n:FORWARD ACCEPT [0:0]\nCOMMIT\n"), witness.Options{})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			sendRaw(t, w.client, clientAddr, serverAddr, row.proto, row.payload)
			// A datagram behind it tells that it is through: the wire keeps the order.
			seen := lose(t, s, w.client, "udp 10.1.0.2:42000 > 10.2.0.2:9", func(o proof.Observation) bool {
				return o.Node == "client" && o.Hop.Tap == nat.TapPreNAT && o.ICMP.Inside.Src().Port() == 42000
			})
			var want []string
			if row.want != "" {
				want = []string{"prerouting-raw toclient " + row.want, "prerouting-nat toclient " + row.want, "postrouting toserver " + row.want}
			}
			var got []string
			for _, line := range lines(seen, "node") {
				if !strings.HasPrefix(line, "  ") && !strings.Contains(line, ":42000") && !strings.Contains(line, " icmp ") {
					got = append(got, line)
				}
			}
			require.Empty(t, cmp.Diff(want, got))
		})
	}
}
