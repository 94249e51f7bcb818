package traffic

import (
	"errors"
	"fmt"
	"net/netip"

	"natlab/nat"

	"golang.org/x/sys/unix"
)

// Kind is how an exchange failed, as the client's socket tells it.
type Kind uint8

// The kinds of failure. The zero value is a failure of this machine, not of the network.
const (
	Broken      Kind = iota // a socket could not be made, bound or used: see Failure.Err
	Refused                 // a RST answered the SYN
	Unreachable             // an ICMP error came: see Failure.ICMPType
	Reset                   // a RST ended a connection that had been made
	Timeout                 // nothing came before the context ended
	Garbled                 // something answered that is no natlab server
)

var kindNames = [...]string{"broken", "refused", "unreachable", "reset", "timeout", "garbled"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Failure is why there is no Answer.
type Failure struct {
	Kind     Kind
	Stage    Stage          // of an Exchange: how far it had come
	Tuple    nat.Tuple      // what was asked, as the caller had it
	Local    netip.AddrPort // the client's socket; invalid where it never had an address
	Sender   netip.Addr     // Unreachable: who sent the ICMP error; invalid where the kernel does not tell
	ICMPType uint8          // Unreachable: as the ICMP header has it
	ICMPCode uint8          //
	Err      error          // what the system call returned
}

func (f *Failure) Error() string {
	s := fmt.Sprintf("ask %s %s: %s", f.Tuple.Proto(), f.Tuple.Dst(), f.Kind)
	if f.Sender.IsValid() {
		s += fmt.Sprintf(" (ICMP %d/%d from %s)", f.ICMPType, f.ICMPCode, f.Sender)
	}
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	return s
}

func (f *Failure) Unwrap() error { return f.Err }

// KindOf is the kind of a Failure anywhere in err's chain, and Broken for any other error.
func KindOf(err error) Kind {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Kind
	}
	return Broken
}

// EndOf is how an exchange ended that failed with err: nat.EndRefused or nat.EndUnreachable where an answer told so, by the
// number that the kernel makes of an ICMP error (icmp_err_convert), else nat.EndLost.
func EndOf(err error) nat.End {
	switch kind := KindOf(err); {
	case kind == Refused, kind == Unreachable && (errors.Is(err, unix.ECONNREFUSED) || errors.Is(err, unix.ENOPROTOOPT)):
		return nat.EndRefused
	case kind == Unreachable:
		return nat.EndUnreachable
	}
	return nat.EndLost
}
