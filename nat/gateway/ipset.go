package gateway

import (
	"fmt"
	"slices"
	"strings"

	"natlab/topology"
)

// addressSets are the types of set whose members are addresses or networks, and nothing else.
var addressSets = []string{"hash:ip", "hash:net"}

// ParseSets reads what `ipset save` prints: a set for each create line of a type whose members are addresses or networks.
// A set of any other type is left out, so that nothing is known of it.
func ParseSets(text string) (Sets, error) {
	sets, other := Sets{}, map[string]bool{}
	number := 0
	for line := range strings.Lines(text) {
		number++
		words := strings.Fields(line)
		switch {
		case len(words) == 0 || words[0][0] == '#':
		case len(words) >= 3 && words[0] == "create":
			sets[words[1]], other[words[1]] = nil, !slices.Contains(addressSets, words[2])
		case len(words) >= 3 && words[0] == "add":
			if other[words[1]] {
				continue
			}
			member, err := topology.ParsePrefix(words[2])
			if err != nil {
				return nil, fmt.Errorf("line %d: set %s: %w", number, words[1], err)
			}
			sets[words[1]] = append(sets[words[1]], member)
		default:
			return nil, fmt.Errorf("line %d: %q: want create or add, as ipset save prints them", number, strings.TrimSpace(line))
		}
	}
	for name, yes := range other {
		if yes {
			delete(sets, name)
		}
	}
	return sets, nil
}
