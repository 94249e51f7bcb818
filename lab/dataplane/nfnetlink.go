package dataplane

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"natlab/nat/nftnl"
)

// nfnetlink is a socket to nf_tables of the namespace in which it was opened.
type nfnetlink struct {
	fd   int
	seq  uint32
	room []byte
}

func openNFNetlink() (*nfnetlink, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	s := &nfnetlink{fd: fd, room: make([]byte, 64<<10)}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		s.close()
		return nil, fmt.Errorf("open nfnetlink: %w", err)
	}
	return s, nil
}

func (s *nfnetlink) close() { _ = unix.Close(s.fd) }

const netlinkHead = unix.NLMSG_HDRLEN + 4 // with struct nfgenmsg

// message appends a message with its heads, and counts it.
func (s *nfnetlink) message(b []byte, kind, flags uint16, family uint8, resource uint16, attrs []byte) []byte {
	s.seq++
	b = binary.NativeEndian.AppendUint32(b, uint32(netlinkHead+len(attrs))) //nolint:gosec // attributes are bounded
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST|flags)
	b = binary.NativeEndian.AppendUint32(b, s.seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, family, unix.NFNETLINK_V0)
	b = binary.BigEndian.AppendUint16(b, resource)
	b = append(b, attrs...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// reply is one message of the kernel's.
type reply struct {
	kind, flags uint16
	seq         uint32
	body        []byte // behind netlink's head; it is overwritten by the next receive
}

// receive hands on the messages of one datagram.
func (s *nfnetlink) receive(f func(reply) error) error {
	n, err := s.datagram()
	if err != nil {
		return err
	}
	for b := s.room[:n]; len(b) >= unix.NLMSG_HDRLEN; {
		size := int(binary.NativeEndian.Uint32(b))
		if size < unix.NLMSG_HDRLEN || size > len(b) {
			return errors.New("nfnetlink: a message is cut short")
		}
		r := reply{kind: binary.NativeEndian.Uint16(b[4:]), flags: binary.NativeEndian.Uint16(b[6:]), seq: binary.NativeEndian.Uint32(b[8:]), body: b[unix.NLMSG_HDRLEN:size]}
		if err := f(r); err != nil {
			return err
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	return nil
}

func (s *nfnetlink) datagram() (int, error) {
	for {
		n, _, err := unix.Recvfrom(s.fd, s.room, 0)
		if !errors.Is(err, unix.EINTR) {
			return n, err
		}
	}
}

// status is the error of an NLMSG_ERROR or NLMSG_DONE message; nil for an acknowledgement.
func (r *reply) status() error {
	if len(r.body) < 4 {
		return nil
	}
	if code := int32(binary.NativeEndian.Uint32(r.body)); code < 0 { //nolint:gosec // signed
		return unix.Errno(-code)
	}
	return nil
}

// errAgain is of a dump that a change has run through.
var errAgain = errors.New("the rules changed while they were read")

// dump asks for all objects of a kind, and hands on the attributes of each.
func (s *nfnetlink) dump(m nftnl.Message, f func(attrs []byte)) error {
	b := s.message(nil, m.Kind, m.Flags, m.Family, 0, m.Attrs)
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return os.NewSyscallError("sendto", err)
	}
	for over := false; !over; {
		err := s.receive(func(r reply) error {
			switch {
			case r.seq != s.seq:
				return nil
			case r.flags&unix.NLM_F_DUMP_INTR != 0:
				return errAgain
			case r.kind == unix.NLMSG_DONE:
				over = true
				return r.status()
			case r.kind == unix.NLMSG_ERROR:
				over = true
				return r.status()
			case len(r.body) > 4:
				f(append([]byte(nil), r.body[4:]...))
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
