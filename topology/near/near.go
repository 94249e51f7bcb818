// Package near finds the name that somebody meant who wrote one that is not there, and tells what there is.
package near

import (
	"fmt"
	"strings"
)

// To is the name that the fewest changes of a letter make of a word, three at most and less than half of its letters, or else the only one that
// the word is a part of, or else the one with which most of its letters begin; "" for none.
func To(word string, names []string) (near string) {
	least := min(3, (len(word)-1)/2) + 1
	for _, name := range names {
		if d := distance(word, name); d < least {
			near, least = name, d
		}
	}
	if near != "" || len(word) < 3 {
		return near
	}
	for _, name := range names {
		if strings.Contains(name, word) {
			if near != "" {
				return ""
			}
			near = name
		}
	}
	if near == "" {
		return begins(word, names)
	}
	return near
}

// begins is the name that begins as a word does for more of its letters than any other: for more than half of them, and four at least; "" for none.
func begins(word string, names []string) (near string) {
	most := max(3, len(word)/2)
	for _, name := range names {
		n := 0
		for n < min(len(word), len(name)) && word[n] == name[n] {
			n++
		}
		switch {
		case n > most:
			near, most = name, n
		case n == most:
			near = ""
		}
	}
	return near
}

// maxNames is how many names There tells.
const maxNames = 12

// There is what there is in place of a word that is no name: "there are vms100, vms101; did you mean vms101?".
func There(word string, names []string) string {
	all := strings.Join(names[:min(len(names), maxNames)], ", ")
	switch more := len(names) - maxNames; {
	case len(names) == 0:
		return "there is none"
	case len(names) == 1:
		return "there is " + all
	case more > 0:
		all += fmt.Sprintf(" and %d more", more)
	}
	return "there are " + all + Mean(word, names)
}

// Mean is "; did you mean NAME?", or nothing where no name is near.
func Mean(word string, names []string) string {
	if near := To(word, names); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}

// distance is how many letters have to be changed, put in or left out to make b of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0] = i + 1
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, before+1)
		}
	}
	return row[len(b)]
}
