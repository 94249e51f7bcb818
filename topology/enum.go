package topology

import (
	"fmt"
	"strings"
)

// word is what name i of an enumeration prints as, and kind(i) for a number that has no name.
func word(names []string, kind string, i uint8) string {
	if int(i) < len(names) {
		return names[i]
	}
	return fmt.Sprintf("%s(%d)", kind, i)
}

// number finds a word of an enumeration.
func number(names []string, kind, s string) (uint8, error) {
	for i, name := range names {
		if name == s {
			return uint8(i), nil
		}
	}
	return 0, fmt.Errorf("%s %q is not known: want %s", kind, s, oneOf(names))
}

// oneOf is "a, b or c".
func oneOf(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

var (
	familyNames        = []string{"ipv4", "ipv6"}
	overlayNames       = []string{"ipip", "vxlan", "none"}
	serviceTypeNames   = []string{"ClusterIP", "NodePort", "LoadBalancer"}
	trafficPolicyNames = []string{"Cluster", "Local"}
	kindNames          = []string{"underlay", "router", "node", "pod", "client"}
	deviceKindNames    = []string{"loopback", "veth", "bridge", "ipip", "vxlan", "point-to-point"}
	kindSourceNames    = []string{"told", "name", "open"}
	switchNames        = []string{"open", "off", "on"}
	scopeNames         = []string{"global", "link", "host"}
	routeTypeNames     = []string{"unicast", "blackhole", "unreachable", "prohibit", "throw"}
)

// String is the word of the Lab document: "ipip", "vxlan" or "none".
func (o Overlay) String() string { return word(overlayNames, "overlay", uint8(o)) }

// MarshalText makes an overlay its word in JSON.
func (o Overlay) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (o *Overlay) UnmarshalText(b []byte) error {
	n, err := number(overlayNames, "overlay", string(b))
	*o = Overlay(n)
	return err
}

// String is the type as the Service object spells it.
func (t ServiceType) String() string { return word(serviceTypeNames, "type", uint8(t)) }

// MarshalText makes a Service type its word in JSON.
func (t ServiceType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *ServiceType) UnmarshalText(b []byte) error {
	n, err := number(serviceTypeNames, "type", string(b))
	*t = ServiceType(n)
	return err
}

// String is the policy as the Service object spells it.
func (p TrafficPolicy) String() string { return word(trafficPolicyNames, "traffic policy", uint8(p)) }

// MarshalText makes a traffic policy its word in JSON.
func (p TrafficPolicy) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (p *TrafficPolicy) UnmarshalText(b []byte) error {
	n, err := number(trafficPolicyNames, "traffic policy", string(b))
	*p = TrafficPolicy(n)
	return err
}

// String is "underlay", "router", "node", "pod" or "client".
func (k Kind) String() string { return word(kindNames, "kind", uint8(k)) }

// MarshalText makes a kind its word in JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *Kind) UnmarshalText(b []byte) error {
	n, err := number(kindNames, "kind", string(b))
	*k = Kind(n)
	return err
}

// String is the kind as rtnetlink spells it, and "loopback".
func (k DeviceKind) String() string { return word(deviceKindNames, "device kind", uint8(k)) }

// MarshalText makes a device kind its word in JSON.
func (k DeviceKind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (k *DeviceKind) UnmarshalText(b []byte) error {
	n, err := number(deviceKindNames, "device kind", string(b))
	*k = DeviceKind(n)
	return err
}

// String is "told", "name" or "open".
func (s KindSource) String() string { return word(kindSourceNames, "source", uint8(s)) }

// String is "open", "off" or "on".
func (s Switch) String() string { return word(switchNames, "switch", uint8(s)) }

// String is the scope as ip(8) spells it.
func (s Scope) String() string { return word(scopeNames, "scope", uint8(s)) }

// MarshalText makes a scope its word in JSON.
func (s Scope) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Scope) UnmarshalText(b []byte) error {
	n, err := number(scopeNames, "scope", string(b))
	*s = Scope(n)
	return err
}

// String is the route type as ip(8) spells it.
func (t RouteType) String() string { return word(routeTypeNames, "route type", uint8(t)) }

// MarshalText makes a route type its word in JSON.
func (t RouteType) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (t *RouteType) UnmarshalText(b []byte) error {
	n, err := number(routeTypeNames, "route type", string(b))
	*t = RouteType(n)
	return err
}
