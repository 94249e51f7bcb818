package dataplane

import (
	"errors"
	"fmt"
	"strings"
	"unsafe"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"natlab/nat"
)

// Numbers of linux/netfilter/ipset/ip_set.h.
const (
	soIPSet        = 83    // SO_IP_SET
	ipsetByIndex   = 7     // IP_SET_OP_GET_BYINDEX
	ipsetVersion   = 0x100 // IP_SET_OP_VERSION
	ipsetMax       = 1 << 16
	ipsetRequest   = 40 // struct ip_set_req_get_set: op, version, union of name [32] and index u16
	ipsetQuietStop = 64 // so many numbers in a row without a set end the search

	ipsetCreate   = 2 // IPSET_CMD_CREATE
	ipsetProtocol = 6 // the oldest that kernels still speak

	ipsetAttrProtocol = 1
	ipsetAttrName     = 2
	ipsetAttrType     = 3
	ipsetAttrRevision = 4
	ipsetAttrFamily   = 5
	ipsetAttrData     = 7
)

// SetNames are the names of the ipsets of a namespace by number, which is all that the kernel's rules keep of them. A
// kernel without ipsets has none.
func SetNames(ns Namespace) (names map[uint16]string, err error) {
	names = map[uint16]string{}
	err = ns.Do(func() error {
		s, err := openXtables(nat.IPv4)
		if err != nil {
			return err
		}
		defer s.close()
		version := make([]byte, 8)
		*(*uint32)(unsafe.Pointer(&version[0])) = ipsetVersion
		if err := s.get(soIPSet, version); err != nil {
			return nil // no ipsets in this kernel
		}
		quiet := 0
		for i := 0; i < ipsetMax && quiet < ipsetQuietStop; i++ {
			b := make([]byte, ipsetRequest)
			*(*uint32)(unsafe.Pointer(&b[0])) = ipsetByIndex
			copy(b[4:8], version[4:8])
			*(*uint16)(unsafe.Pointer(&b[8])) = uint16(i)
			quiet++
			if err := s.get(soIPSet, b); err != nil {
				continue
			}
			if name, _, _ := strings.Cut(string(b[8:40]), "\x00"); name != "" {
				names[uint16(i)] = name
				quiet = 0
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the names of the ipsets: %w", err)
	}
	return names, nil
}

// MakeSets makes empty ipsets of addresses that are not there yet: the kernel refuses rules that name one that is not.
// What a rule asks of a set does not depend on the set's type.
func MakeSets(ns Namespace, family nat.Family, names ...string) error {
	if len(names) == 0 {
		return nil
	}
	return ns.Do(func() error {
		c, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
		if err != nil {
			return fmt.Errorf("open nfnetlink: %w", err)
		}
		defer func() { _ = c.Close() }()
		for _, name := range names {
			if err := makeSet(c, family, name); err != nil {
				return fmt.Errorf("make the ipset %q: %w", name, err)
			}
		}
		return nil
	})
}

func makeSet(c *netlink.Conn, family nat.Family, name string) error {
	proto := byte(unix.NFPROTO_IPV4)
	if family == nat.IPv6 {
		proto = unix.NFPROTO_IPV6
	}
	attrs, err := netlink.MarshalAttributes([]netlink.Attribute{
		{Type: ipsetAttrProtocol, Data: []byte{ipsetProtocol}},
		{Type: ipsetAttrName, Data: append([]byte(name), 0)},
		{Type: ipsetAttrType, Data: []byte("hash:ip\x00")},
		{Type: ipsetAttrRevision, Data: []byte{0}},
		{Type: ipsetAttrFamily, Data: []byte{proto}},
		{Type: ipsetAttrData | netlink.Nested},
	})
	if err != nil {
		return err
	}
	_, err = c.Execute(netlink.Message{
		Header: netlink.Header{Type: unix.NFNL_SUBSYS_IPSET<<8 | ipsetCreate, Flags: netlink.Request | netlink.Acknowledge | netlink.Create},
		Data:   append([]byte{proto, unix.NFNETLINK_V0, 0, 0}, attrs...),
	})
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	return err
}
