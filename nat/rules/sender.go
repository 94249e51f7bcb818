package rules

import "strconv"

// Sender tells what kind of socket a packet left the node by, and whose it is.
type Sender struct {
	Socket   SocketKind
	UID, GID ID // of the process that holds it
}

// SocketKind is a kind of socket.
type SocketKind uint8

// The kinds of sockets.
const (
	SocketUnknown SocketKind = iota
	NoSocket                 // the packet is forwarded, or the kernel made it without one
	KernelSocket             // one of the kernel's own, that no process holds: that of ICMP, of RSTs in IPv4
	ProcessSocket            // one that a process holds
)

// ID is a uid or a gid, where it is known.
type ID struct {
	Known  bool
	Number uint32
}

// MarshalText is the number, "" where it is not known.
func (id ID) MarshalText() ([]byte, error) {
	if !id.Known {
		return nil, nil
	}
	return strconv.AppendUint(nil, uint64(id.Number), 10), nil
}
