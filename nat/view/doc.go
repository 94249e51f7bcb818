// Package view shows x_tables' rules as a version of the iptables program does: save, -L, and what old versions misread of
// newer kernels' structs. The rules come as nat/xtables takes them apart.
package view
