package main

import (
	"fmt"
	"strings"
)

// maxThere is how many names an error tells of what there is.
const maxThere = 12

// thereAre is what there is in place of a name that is not there: the nearest one, and all of them, or what stands for all.
func thereAre(name string, names []string, all string) string {
	if all == "" {
		all = strings.Join(names[:min(len(names), maxThere)], ", ")
		if more := len(names) - maxThere; more > 0 {
			all += fmt.Sprintf(" and %d more", more)
		}
	}
	if len(names) == 0 {
		return "there is none"
	}
	there := "there are " + all
	if len(names) == 1 {
		there = "there is " + all
	}
	if near := nearest(name, names); near != "" && len(names) > 1 {
		return there + "; did you mean " + near + "?"
	}
	return there
}
