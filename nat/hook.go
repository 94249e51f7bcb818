package nat

import (
	"fmt"
	"net/netip"
	"slices"
)

// Family is the address family of a rule set.
type Family uint8

// The zero Family is IPv4, the family every lab has.
const (
	IPv4 Family = iota
	IPv6
)

// FamilyOf is an address's family.
func FamilyOf(a netip.Addr) Family {
	if a.Is6() {
		return IPv6
	}
	return IPv4
}

func (f Family) String() string {
	if f == IPv6 {
		return "ipv6"
	}
	return "ipv4"
}

// Hook is a point on a packet's way through a node where netfilter calls tables (enum nf_inet_hooks).
//
//	  in                                                             out
//	---> PreRouting --> [route] -- not ours --> Forward --+--> PostRouting --->
//	                       |                              ^
//	                     ours                             |
//	                       v                              |
//	                     Input                          Output
//	                       |                              ^
//	                       +------> local process --------+
type Hook uint8

// The hooks, with the kernel's numbers.
const (
	PreRouting  Hook = iota // NF_INET_PRE_ROUTING
	Input                   // NF_INET_LOCAL_IN
	Forward                 // NF_INET_FORWARD
	Output                  // NF_INET_LOCAL_OUT
	PostRouting             // NF_INET_POST_ROUTING
)

// Hooks lists every hook in the kernel's order.
var hookChains = [...]string{"PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"}

// Hooks returns every hook in the kernel's order.
func Hooks() []Hook { return []Hook{PreRouting, Input, Forward, Output, PostRouting} }

// String is the name of the built-in chain of that hook: "PREROUTING".
func (h Hook) String() string {
	if int(h) < len(hookChains) {
		return hookChains[h]
	}
	return fmt.Sprintf("HOOK%d", uint8(h))
}

// HookOf is the hook of a built-in chain; false for any other chain.
func HookOf(chain string) (Hook, bool) {
	i := slices.Index(hookChains[:], chain)
	return Hook(max(i, 0)), i >= 0
}

// ParseHook reads a built-in chain's name.
func ParseHook(s string) (Hook, error) {
	if h, ok := HookOf(s); ok {
		return h, nil
	}
	return 0, fmt.Errorf("hook %q: want PREROUTING, INPUT, FORWARD, OUTPUT or POSTROUTING", s)
}

// MarshalText makes a hook its chain's name in JSON.
func (h Hook) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (h *Hook) UnmarshalText(b []byte) (err error) { *h, err = ParseHook(string(b)); return err }
