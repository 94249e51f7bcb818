package topology

import (
	"fmt"
	"slices"
)

// Differences tells what is otherwise in a namespace than its Plan made it, one line each: devices, addresses, routes,
// neighbours, sysctls. The first namespace is the Plan's, the second what is there now.
func Differences(plan, now Namespace) []string {
	var out []string
	add := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, d := range now.Devices {
		i := slices.IndexFunc(plan.Devices, func(w Device) bool { return w.Name == d.Name })
		switch {
		case i < 0:
		case d.Down:
			add("device %s is down", d.Name)
		case d.MTU != plan.Devices[i].MTU:
			add("device %s has MTU %d%s", d.Name, d.MTU, made(plan.Devices[i].MTU))
		}
	}
	out = append(out, lines("address", plan.Addresses, now.Addresses)...)
	out = append(out, lines("route", plan.Routes, now.Routes)...)
	out = append(out, lines("neighbour", plan.Neighbours, now.Neighbours)...)
	for _, s := range now.Sysctls {
		i := slices.IndexFunc(plan.Sysctls, func(w Sysctl) bool { return w.Key == s.Key })
		switch {
		case i < 0:
			add("%s is %s", s.Key, s.Value)
		case plan.Sysctls[i].Value != s.Value:
			add("%s is %s, the lab made it %s", s.Key, s.Value, plan.Sysctls[i].Value)
		}
	}
	return out
}

func made(mtu int) string {
	if mtu == 0 {
		return ""
	}
	return fmt.Sprintf(", the lab made it %d", mtu)
}

// lines compares two lists by their texts, order aside.
func lines[T fmt.Stringer](what string, plan, now []T) (out []string) {
	wanted, held := textsOf(plan), textsOf(now)
	for _, w := range missing(wanted, held) {
		out = append(out, fmt.Sprintf("the %s %s is gone", what, w))
	}
	for _, n := range missing(held, wanted) {
		out = append(out, fmt.Sprintf("the %s %s is not the lab's", what, n))
	}
	return out
}

func textsOf[T fmt.Stringer](all []T) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = one.String()
	}
	return out
}

// missing are those of all that others have not.
func missing(all, others []string) (out []string) {
	known := make(map[string]bool, len(others))
	for _, one := range others {
		known[one] = true
	}
	for _, one := range all {
		if !known[one] {
			out = append(out, one)
		}
	}
	return out
}
