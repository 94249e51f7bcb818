package dataplane

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"natlab/nat"
	"natlab/nat/xtables"
)

// Socket options of ip_tables.h; ip6_tables.h has the same numbers.
const (
	soSetReplace = 64 // IPT_SO_SET_REPLACE
	soGetInfo    = 64 // IPT_SO_GET_INFO
	soGetEntries = 65 // IPT_SO_GET_ENTRIES

	entriesHead = 40 // struct ipt_get_entries in front of the entries: name [32], size u32, padding
	counterSize = 16 // struct xt_counters
)

// ReadTables reads the tables of iptables-legacy as the kernel holds them, without any program, in the order in which
// iptables-save lists them: the one made last first. It makes no table that is not there.
func ReadTables(ns Namespace, family nat.Family) ([]xtables.Table, error) {
	blobs, err := readBlobs(ns, family, func(n int) []byte { return make([]byte, n) })
	if err != nil {
		return nil, err
	}
	var tables []xtables.Table
	for _, b := range blobs {
		t, err := xtables.Decode(b)
		if err != nil {
			return nil, fmt.Errorf("read the %s tables: %w", family, err)
		}
		tables = append(tables, t)
	}
	return tables, nil
}

// readBlobs are ReadTables' tables as the kernel hands them out, in room that the caller gives: so many bytes, of any content.
func readBlobs(ns Namespace, family nat.Family, room func(int) []byte) (blobs []xtables.Blob, err error) {
	err = ns.Do(func() error {
		names, err := legacyTables(family)
		if err != nil || len(names) == 0 {
			return err
		}
		s, err := openXtables(family)
		if err != nil {
			return err
		}
		defer s.close()
		for _, name := range names {
			b, err := s.read(name, room)
			if err != nil {
				return err
			}
			blobs = append(blobs, b)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the %s tables: %w", family, err)
	}
	return blobs, nil
}

// WriteTables replaces whole tables of iptables-legacy, each at once, without any program. Tables that the kernel
// refuses are left as they were, and those behind them too.
func WriteTables(ns Namespace, tables ...xtables.Table) error {
	for _, t := range tables {
		err := ns.Do(func() error {
			s, err := openXtables(t.Family)
			if err != nil {
				return err
			}
			defer s.close()
			return s.write(t)
		})
		if err != nil {
			return fmt.Errorf("write the %s table %s: %w", t.Family, t.Name, err)
		}
	}
	return nil
}

// xtablesSocket speaks with ip_tables or ip6_tables of the namespace in which it was opened.
type xtablesSocket struct {
	fd     int
	level  int
	family nat.Family
}

func openXtables(f nat.Family) (xtablesSocket, error) {
	s := xtablesSocket{level: unix.SOL_IP, family: f}
	domain := unix.AF_INET
	if f == nat.IPv6 {
		domain, s.level = unix.AF_INET6, unix.SOL_IPV6
	}
	var err error
	if s.fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW); err != nil {
		return s, fmt.Errorf("raw socket: %w", err)
	}
	return s, nil
}

func (s xtablesSocket) close() { _ = unix.Close(s.fd) }

// get is getsockopt over b, whose beginning is the question.
func (s xtablesSocket) get(option int, b []byte) error {
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(s.fd), uintptr(s.level), uintptr(option), uintptr(unsafe.Pointer(&b[0])), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

// set is setsockopt of b, which unix.SetsockoptString would copy first: a table of a large cluster has ten megabytes.
func (s xtablesSocket) set(option int, b []byte) error {
	_, _, errno := unix.Syscall6(unix.SYS_SETSOCKOPT, uintptr(s.fd), uintptr(s.level), uintptr(option), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), 0)
	if errno != 0 {
		return errno
	}
	return nil
}

func (s xtablesSocket) info(name string) (xtables.Blob, uint32, error) {
	b := make([]byte, xtables.InfoSize)
	copy(b, name)
	if err := s.get(soGetInfo, b); err != nil {
		return xtables.Blob{}, 0, fmt.Errorf("table %s: IPT_SO_GET_INFO: %w", name, err)
	}
	return xtables.ParseInfo(s.family, b)
}

// attempts bounds how often a table is read anew because someone changed it between the two calls.
const attempts = 20

func (s xtablesSocket) read(name string, room func(int) []byte) (xtables.Blob, error) {
	for range attempts {
		blob, size, err := s.info(name)
		if err != nil {
			return xtables.Blob{}, err
		}
		b := room(entriesHead + int(size))
		clear(b[:entriesHead])
		copy(b, name)
		*(*uint32)(unsafe.Pointer(&b[32])) = size
		err = s.get(soGetEntries, b)
		if errors.Is(err, unix.EAGAIN) {
			continue // its size changed
		}
		if err != nil {
			return xtables.Blob{}, fmt.Errorf("table %s: IPT_SO_GET_ENTRIES: %w", name, err)
		}
		blob.Bytes = b[entriesHead:]
		return blob, nil
	}
	return xtables.Blob{}, fmt.Errorf("table %s: it changed each of the %d times it was read", name, attempts)
}

func (s xtablesSocket) write(t xtables.Table) error {
	blob, err := t.Encode()
	if err != nil {
		return err
	}
	return s.replace(blob)
}

func (s xtablesSocket) replace(blob xtables.Blob) error {
	for range attempts {
		old, _, err := s.info(blob.Name)
		if err != nil {
			return err
		}
		counters := make([]byte, counterSize*max(old.Count, 1))
		b := blob.Replace(old.Count, uint64(uintptr(unsafe.Pointer(&counters[0]))))
		err = s.set(soSetReplace, b)
		runtime.KeepAlive(counters)
		if !errors.Is(err, unix.EAGAIN) { // EAGAIN: the number of entries changed
			return err
		}
	}
	return fmt.Errorf("it changed each of the %d times it was to be written", attempts)
}
