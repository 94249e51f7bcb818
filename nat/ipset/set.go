package ipset

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"natlab/nat"
	"natlab/nat/rules"
)

// Sets are a node's sets by their names.
type Sets map[string]*Set

// Set is one set with its members.
type Set struct {
	Name   string
	Type   string // "hash:ip,port"
	Unread string // why nothing is known of what is in it; "" for a set of which all is known

	parts   []part
	nets    []int // the places of a member's networks, which have any length, among its addresses
	family  nat.Family
	mixed   bool       // it is of both families
	mask    netip.Addr // netmask or bitmask: what is asked for of addresses; invalid for all
	mark    uint32     // mask of marks
	first   netip.Addr // of a bitmap of addresses, as is last
	last    netip.Addr
	ports   [2]uint16 // the first and the last one of a bitmap of ports
	max     int       // members of a hash; 0: any number
	timeout time.Duration
	timed   bool // members have a timeout
	counted bool // members have counters
	marked  bool // members have marks for packets (skbinfo)
	forced  bool // a new member takes another one's place where there is no room (forceadd)

	// A set that packets have changed is what is under it, with these members in place of those of the same keys; none: they
	// have been deleted.
	under   *Set
	members map[key][]*member
	lists   []key         // of a list:set, in order
	count   int           // members, those that have timed out too
	lengths [2][129]int32 // of the networks that are members, by length; of the first network in a member, and of the second
}

// part is what an entry is in one dimension.
type part uint8

const (
	partIP part = iota
	partNet
	partPort
	partMAC
	partDevice
	partMark
	partSet
)

// types are the types of set that Linux has, with their dimensions.
var types = map[string][]part{
	"bitmap:ip":        {partIP},
	"bitmap:ip,mac":    {partIP, partMAC},
	"bitmap:port":      {partPort},
	"hash:ip":          {partIP},
	"hash:ip,mac":      {partIP, partMAC},
	"hash:ip,mark":     {partIP, partMark},
	"hash:ip,port":     {partIP, partPort},
	"hash:ip,port,ip":  {partIP, partPort, partIP},
	"hash:ip,port,net": {partIP, partPort, partNet},
	"hash:mac":         {partMAC},
	"hash:net":         {partNet},
	"hash:net,iface":   {partNet, partDevice},
	"hash:net,net":     {partNet, partNet},
	"hash:net,port":    {partNet, partPort},
	"hash:net,port,net": {
		partNet, partPort, partNet,
	},
	"list:set": {partSet},
}

const (
	typeBitmapIP   = "bitmap:ip"
	typeBitmapMAC  = "bitmap:ip,mac"
	typeBitmapPort = "bitmap:port"
	typeHashIP     = "hash:ip"
	typeHashIPPort = "hash:ip,port"
	typeHashMAC    = "hash:mac"
	typeNetDevice  = "hash:net,iface"
	typeList       = "list:set"
)

// network is an address or a network; bits are as many as its family has for an address.
type network struct {
	addr [16]byte
	bits uint8
}

func networkOf(p netip.Prefix) network {
	return network{p.Masked().Addr().As16(), uint8(p.Bits())}
}

// key is what a member is found by: of a bitmap:ip,mac without the MAC, of a hash:net,iface without the device's name.
type key struct {
	addrs   [2]network
	port    uint16
	proto   nat.Proto
	physdev bool
	mac     [6]byte
	mark    uint32
	set     string
}

// member is one entry with its extensions.
type member struct {
	noMatch  bool
	device   string // or, with wildcard, how its name begins
	wildcard bool
	mac      [6]byte // of a bitmap:ip,mac, where filled; it takes that of the first packet else
	filled   bool
	left     time.Duration // from the State's beginning on; 0: for ever
	packets  uint64
	bytes    uint64
	info     rules.SetInfo
}

// has reports whether a device is the member's.
func (m *member) has(device string) bool {
	if m.wildcard {
		return len(device) >= len(m.device) && device[:len(m.device)] == m.device
	}
	return m.device == device
}

// width is how many bits an address of the set has.
func (s *Set) width() int {
	if s.family == nat.IPv6 {
		return 128
	}
	return 32
}

// begin makes an empty set of a type; nothing is known of one of a type that there is not.
func begin(name, kind string) *Set {
	s := &Set{Name: name, Type: kind, parts: types[kind], members: map[key][]*member{}, mark: math.MaxUint32}
	if s.parts == nil {
		s.Unread = fmt.Sprintf("natlab does not know the type %s", kind)
	}
	at := 0
	for _, p := range s.parts {
		switch p {
		case partNet:
			s.nets = append(s.nets, at)
			at++
		case partIP:
			at++
		case partPort, partMAC, partDevice, partMark, partSet:
		}
	}
	s.mixed = at == 0
	return s
}

// Unread tells of the sets of which nothing is known, in the order of their names.
func (s Sets) Unread() (out []string) {
	for name, set := range s {
		if set.Unread != "" {
			out = append(out, fmt.Sprintf("set %s: nothing is known of what is in it: %s", name, set.Unread))
		}
	}
	slices.Sort(out)
	return out
}

// find are the members with a key.
func (s *Set) find(k key) []*member {
	for l := s; l != nil; l = l.under {
		if found, ok := l.members[k]; ok {
			return found
		}
	}
	return nil
}

// over is a set that can be changed and leaves s as it is.
func (s *Set) over() *Set {
	out := *s
	out.under, out.members = s, map[key][]*member{}
	return &out
}

// own are the members with a key, for a change.
func (s *Set) own(k key) []*member {
	if found, ok := s.members[k]; ok {
		return found
	}
	found := s.find(k)
	own := make([]*member, len(found))
	for i, m := range found {
		c := *m
		own[i] = &c
	}
	s.members[k] = own
	return own
}

// put adds a member.
func (s *Set) put(k key, m *member) {
	s.members[k] = append(s.own(k), m)
	s.counts(k, 1)
}

// take takes a member out, by its number among those with the key.
func (s *Set) take(k key, i int) {
	s.members[k] = slices.Delete(s.own(k), i, i+1)
	s.counts(k, -1)
}

func (s *Set) counts(k key, by int) {
	s.count += by
	for i, at := range s.nets {
		s.lengths[i][k.addrs[at].bits] += int32(by)
	}
}

// keys yields the key of every member, and some more than once or of members that are no more.
func (s *Set) keys(yield func(key) bool) {
	for l := s; l != nil; l = l.under {
		for k := range l.members {
			if !yield(k) {
				return
			}
		}
	}
}

// longest is the length that a network has which a packet adds: that of the longest one that is there.
func (s *Set) longest(dimension int) int {
	for bits := s.width(); bits > 0; bits-- {
		if s.lengths[dimension][bits] > 0 {
			return bits
		}
	}
	if s.lengths[dimension][0] > 0 {
		return 0
	}
	return s.width()
}
