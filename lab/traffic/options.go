package traffic

import (
	"context"
	"os"

	"golang.org/x/sys/unix"

	"natlab/nat"
)

// The options of OpenWithOptions: bytes that change nothing on a packet's way.
const (
	nothing4 = "\x01\x01\x01\x00"                 // three NOPs and the end (RFC 791, 3.1)
	padding6 = "\x00\x00\x01\x04\x00\x00\x00\x00" // a header of eight bytes whose only option is PadN (RFC 8200, 4.2)
)

// OpenWithOptions is Open of a TCP or UDP socket all of whose packets, the first one too, have between the IP header and that of the protocol what
// changes nothing: in IPv4 options, in IPv6 a hop-by-hop header and destination options (ip(7), RFC 3542, 8 and 9).
func OpenWithOptions(ctx context.Context, ns Namespace, t nat.Tuple) (*Conn, error) {
	conns, errs := startWith(ns, []nat.Tuple{t}, addOptions)
	if errs[0] != nil {
		return nil, errs[0]
	}
	return opened(ctx, conns[0])
}

func addOptions(fd int, t nat.Tuple) error {
	if t.Dst().Addr().Is4() {
		return os.NewSyscallError("setsockopt IP_OPTIONS", unix.SetsockoptString(fd, unix.SOL_IP, unix.IP_OPTIONS, nothing4))
	}
	for _, header := range []int{unix.IPV6_HOPOPTS, unix.IPV6_DSTOPTS} {
		if err := unix.SetsockoptString(fd, unix.SOL_IPV6, header, padding6); err != nil {
			return os.NewSyscallError("setsockopt HOPOPTS, DSTOPTS", err)
		}
	}
	return nil
}

// OptionBytes is how many bytes OpenWithOptions adds to each packet of a tuple.
func OptionBytes(t nat.Tuple) int {
	if t.Dst().Addr().Is4() {
		return len(nothing4)
	}
	return 2 * len(padding6)
}
