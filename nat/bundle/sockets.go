package bundle

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
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
	var err error
	if n.Facts.Sockets, err = parseSockets(s.Text, s.Line); err != nil {
		return in(s, err)
	}
	return nil
}

// ParseSockets reads who listens as ss -lntup or ss -lntp prints it, netstat -lntup, or the rows of /proc/net/tcp and the like behind a line
// "# /proc/net/tcp". Of none the result is empty and not nil. An error names the line.
func ParseSockets(text string) ([]gateway.Socket, error) { return parseSockets(text, 1) }

// socketPrompt is a line with the command that printed the others.
var socketPrompt = regexp.MustCompile(`[$#>%] *(sudo +)?(ss|netstat)\b|^Active Internet`)

func parseSockets(text string, number int) ([]gateway.Socket, error) {
	all := []gateway.Socket{}
	file := ""
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		var one gateway.Socket
		var err error
		switch {
		case len(words) == 0, words[0] == "Netid", words[0] == "sl", words[0] == "State", words[0] == "Proto", socketPrompt.MatchString(line):
			err = errOtherSocket
		case strings.HasPrefix(line, "# /proc/net/"):
			file, err = strings.TrimSpace(strings.TrimPrefix(line, "# /proc/net/")), errOtherSocket
		case file != "":
			one, err = procSocket(file, words)
		case words[0] == "LISTEN" || words[0] == "UNCONN": // of one protocol alone ss prints none
			one, err = ssSocket(append([]string{map[string]string{"LISTEN": "tcp", "UNCONN": "udp"}[words[0]]}, words...))
		default:
			one, err = ssSocket(words)
		}
		switch {
		case errors.Is(err, errOtherSocket):
		case err != nil:
			return nil, fmt.Errorf("line %d: %w", number, err)
		case !slices.Contains(all, one):
			all = append(all, one)
		}
		number++
	}
	return all, nil
}

// errOtherSocket is of a socket that is neither TCP's nor UDP's.
var errOtherSocket = errors.New("a socket of another protocol")

var socketProtos = map[string]nat.Proto{"tcp": nat.TCP, "udp": nat.UDP, "tcp6": nat.TCP, "udp6": nat.UDP}

// ssSocket reads "tcp LISTEN 0 128 127.0.0.53%lo:53 0.0.0.0:* users:(...)". A socket of IPv6 for any address takes IPv4 too, unless it was
// told not to, which ss does not print: it counts as one of both.
func ssSocket(words []string) (gateway.Socket, error) {
	proto, ok := socketProtos[words[0]]
	if !ok {
		return other(words[0])
	}
	if _, wrong := strconv.Atoi(words[min(1, len(words)-1)]); wrong == nil && len(words) > 4 { // netstat has no state in front
		if words[len(words)-1] == "ESTABLISHED" || len(words) > 5 && words[0][:3] == "tcp" && words[5] != "LISTEN" {
			return gateway.Socket{}, errOtherSocket
		}
		words = append([]string{words[0], ""}, words[1:]...)
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

// other is a socket of another protocol, as ss names them and netstat; any other word is an error.
func other(netid string) (gateway.Socket, error) {
	if slices.Contains([]string{"nl", "p_raw", "p_dgr", "raw", "raw6", "icmp", "icmp6", "udplite", "udplite6", "u_str", "u_dgr", "u_seq", "sctp", "sctp6", "mptcp", "dccp", "tipc", "v_str", "v_dgr", "xdp", "???", "unix"}, netid) {
		return gateway.Socket{}, errOtherSocket
	}
	return gateway.Socket{}, fmt.Errorf("%q is no protocol: want a socket as ss -lntup prints it", netid)
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
