package main

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"natlab/nat/report"
	"natlab/topology/near"
)

// fitHelp makes the help of a command, and of those below it, as wide as the terminal.
func (p *program) fitHelp(root *cobra.Command) {
	st := p.style()
	if st.Width == 0 {
		return
	}
	usage := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		to := cmd.OutOrStderr()
		var text bytes.Buffer
		cmd.SetOut(&text)
		err := usage(cmd)
		cmd.SetOut(to)
		if err == nil {
			_, err = io.WriteString(to, fitUsage(st, text.String()))
		}
		return err
	})
	var fit func(*cobra.Command)
	fit = func(cmd *cobra.Command) {
		cmd.Long = foldParagraphs(st, cmp.Or(cmd.Long, cmd.Short))
		for _, sub := range cmd.Commands() {
			fit(sub)
		}
	}
	fit(root)
}

// foldParagraphs is a text whose paragraphs, between empty lines, fill the width. One with a line that begins with a blank is a table or an
// example, and stays as it is.
func foldParagraphs(st report.Style, text string) string {
	parts := strings.Split(text, "\n\n")
	for i, part := range parts {
		if !strings.HasPrefix(part, " ") && !strings.Contains(part, "\n ") {
			parts[i] = st.Fold(strings.Join(strings.Fields(part), " "), "")
		}
	}
	return strings.Join(parts, "\n\n")
}

var (
	// flagLine is a flag with its argument as cobra's usage has it, and what it does.
	flagLine = regexp.MustCompile(`^(\s+(?:-\w, )?--\S+(?: \S+)?)(\s{3,})(\S.*)$`)
	// commandLine is a command, and what it does.
	commandLine = regexp.MustCompile(`^(  \S+\s+)(\S.*)$`)
)

// narrowHelp is the width under which what a flag does stands below its name.
const narrowHelp = 120

// fitUsage breaks the lines of a command's usage; its examples, which are there to be copied, as a shell has lines broken.
func fitUsage(st report.Style, text string) string {
	var b strings.Builder
	part := ""
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if line != "" && !strings.HasPrefix(line, " ") {
			part = line
		}
		b.WriteString(fitUsageLine(st, part, line) + "\n")
	}
	return b.String()
}

func fitUsageLine(st report.Style, part, line string) string {
	flag, command := flagLine.FindStringSubmatch(line), commandLine.FindStringSubmatch(line)
	switch {
	case strings.HasPrefix(part, "Examples"):
		return foldShell(st, line)
	case flag != nil && st.Width < narrowHelp:
		indent := strings.Repeat(" ", 10)
		return flag[1] + "\n" + indent + st.Fold(flag[3], indent)
	case flag != nil:
		before := flag[1] + flag[2]
		return before + st.Fold(flag[3], strings.Repeat(" ", len(before)))
	case strings.HasSuffix(part, "Commands:") && command != nil:
		return command[1] + st.Fold(command[2], strings.Repeat(" ", len(command[1])))
	case strings.HasPrefix(line, "  "):
		return "  " + st.Fold(line[2:], "      ")
	}
	return st.Fold(line, "")
}

// shellWord is a word of a command line, with what is quoted in it.
var shellWord = regexp.MustCompile(`(?:'[^']*'|[^\s'])+`)

// foldShell is a command line of an example that goes on behind a backslash where it is too long.
func foldShell(st report.Style, line string) string {
	if st.Width <= 0 || len(line) <= st.Width {
		return line
	}
	indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
	var b strings.Builder
	at := 0
	for _, word := range shellWord.FindAllString(line, -1) {
		switch {
		case at == 0:
			word = indent + word
		case at+1+len(word)+len(` \`) > st.Width:
			word, at = indent+"  "+word, 0
			b.WriteString(" \\\n")
		default:
			word = " " + word
		}
		b.WriteString(word)
		at += len(word)
	}
	return b.String()
}

// helpCommand prints the help of a command, or a topic, and refuses what is neither.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND|TOPIC]",
		Short: "Help about any command or topic",
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.Root()
			for _, word := range args {
				next := slices.IndexFunc(at.Commands(), func(c *cobra.Command) bool { return c.Name() == word })
				if next < 0 {
					var names []string
					for _, c := range at.Commands() {
						if !c.Hidden {
							names = append(names, c.Name())
						}
					}
					return usage(at, fmt.Errorf("there is no command or help topic %q%s", word, cmp.Or(near.Mean(word, names), suggestion(at, word))))
				}
				at = at.Commands()[next]
			}
			return at.Help()
		},
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) (out []cobra.Completion, _ cobra.ShellCompDirective) {
			at, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			for _, c := range at.Commands() {
				if c.IsAvailableCommand() || c.IsAdditionalHelpTopicCommand() {
					out = append(out, cobra.CompletionWithDesc(c.Name(), c.Short))
				}
			}
			return out, cobra.ShellCompDirectiveNoFileComp
		},
	}
}
