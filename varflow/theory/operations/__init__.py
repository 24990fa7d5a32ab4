"""Operations on signals at infinite width, forward and backward."""
