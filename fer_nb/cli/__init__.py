"The commands of `fer-nb`: they parse, call and print."
