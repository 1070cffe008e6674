module loadserver

go 1.24
