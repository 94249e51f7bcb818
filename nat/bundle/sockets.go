package bundle

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"natlab/nat"
	"natlab/nat/gateway"
	"natlab/topology/dump"
)

// sockets reads what ss -lntup prints, or the rows of /proc/net/tcp, tcp6, udp and udp6.
func (n *Node) sockets(b dump.Bundle) error {
	s, lacks := n.missing(b, "sockets", "every port of the node counts as one where a process listens")
	if lacks {
		return nil
	}
	n.Facts.Sockets = []gateway.Socket{}
	file, number := "", s.Line-1
	for line := range strings.Lines(s.Text) {
		number++
		words := strings.Fields(line)
		var one gateway.Socket
		var err error
		switch {
		case len(words) == 0 || words[0] == "Netid" || words[0] == "sl":
			continue
		case strings.HasPrefix(line, "# /proc/net/"):
			file = strings.TrimSpace(strings.TrimPrefix(line, "# /proc/net/"))
			continue
		case file != "":
			one, err = procSocket(file, words)
		default:
			one, err = ssSocket(words)
		}
		switch {
		case errors.Is(err, errOtherSocket):
		case err != nil:
			return in(s, fmt.Errorf("line %d: %w", number, err))
		case !slices.Contains(n.Facts.Sockets, one):
			n.Facts.Sockets = append(n.Facts.Sockets, one)
		}
	}
	return nil
}

// errOtherSocket is of a socket that is neither TCP's nor UDP's.
var errOtherSocket = errors.New("a socket of another protocol")

var socketProtos = map[string]nat.Proto{"tcp": nat.TCP, "udp": nat.UDP, "tcp6": nat.TCP, "udp6": nat.UDP}

// ssSocket reads "tcp LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:* users:(...)". A socket of IPv6 for any address takes IPv4 too, unless it was
// told not to, which ss does not print: it counts as one of both.
func ssSocket(words []string) (gateway.Socket, error) {
	proto, ok := socketProtos[words[0]]
	if !ok {
		return gateway.Socket{}, errOtherSocket
	}
	if len(words) < 6 {
		return gateway.Socket{}, errors.New("want a socket as ss -lntup prints it: PROTOCOL STATE N N ADDRESS:PORT PEER")
	}
	at := words[4]
	i := strings.LastIndexByte(at, ':')
	if i < 0 {
		return gateway.Socket{}, fmt.Errorf("%q: want ADDRESS:PORT", at)
	}
	port, err := strconv.ParseUint(at[i+1:], 10, 16)
	if err != nil {
		return gateway.Socket{}, fmt.Errorf("%q: want ADDRESS:PORT, with a port's number", at)
	}
	one := gateway.Socket{Proto: proto, Port: uint16(port)}
	host, _, _ := strings.Cut(strings.Trim(at[:i], "[]"), "%")
	if host = strings.Trim(host, "[]"); host == "*" || host == "::" {
		return one, nil
	}
	if one.Addr, err = netip.ParseAddr(host); err != nil {
		return gateway.Socket{}, fmt.Errorf("%q: want ADDRESS:PORT: %w", at, err)
	}
	one.Addr = one.Addr.Unmap()
	return one, nil
}

// procSocket reads "0: 0100007F:0035 00000000:0000 0A ...": the words of an address are in the order of the node's bytes, which is taken for the
// little endian one.
func procSocket(file string, words []string) (gateway.Socket, error) {
	proto, ok := socketProtos[file]
	if !ok || len(words) < 4 {
		return gateway.Socket{}, errors.New("want a row of /proc/net/tcp, tcp6, udp or udp6")
	}
	host, port, _ := strings.Cut(words[1], ":")
	number, err := strconv.ParseUint(port, 16, 16)
	if err != nil {
		return gateway.Socket{}, fmt.Errorf("%q: want ADDRESS:PORT in hexadecimal digits", words[1])
	}
	b, err := hex.DecodeString(host)
	if err != nil || len(b) != 4 && len(b) != 16 {
		return gateway.Socket{}, fmt.Errorf("%q: want ADDRESS:PORT in hexadecimal digits", words[1])
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, _ := netip.AddrFromSlice(b) // it has one of the two lengths
	one := gateway.Socket{Proto: proto, Port: uint16(number)}
	if a.Is6() && a.IsUnspecified() {
		return one, nil
	}
	one.Addr = a.Unmap()
	return one, nil
}
