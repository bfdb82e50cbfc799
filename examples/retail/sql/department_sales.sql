-- table: gold.department_sales
-- description: What each department sold in each month, in dollars, and how much of it was discounted.
-- input sales: silver.transactions_cleaned
-- input products: silver.products_cleaned
-- interval: monthly(month)
-- start: 2017-01-01
-- end: 2018-02-01
-- keys: department, month
-- consumers: store management
-- check: not_null(department)
-- check: unique(department, month)
-- check: between(revenue, 0, None)
-- check: between(discount_share, 0, 1)
-- check: row_count(1).warn()
SELECT
  coalesce(products.department, 'Unknown') AS department,
  date_trunc('month', sales.transaction_timestamp) AS month,
  CAST(sum(sales.sales_value) AS DECIMAL(14, 2)) AS revenue,
  CAST(sum(sales.retail_disc + sales.coupon_disc) AS DECIMAL(14, 2)) AS discount,
  CAST(round(
    sum(sales.retail_disc + sales.coupon_disc)
      / nullif(sum(sales.sales_value + sales.retail_disc + sales.coupon_disc), 0), 6) AS DOUBLE) AS discount_share,
  count(DISTINCT sales.basket_id) AS baskets,
  count(DISTINCT sales.household_id) AS households
FROM sales LEFT JOIN products USING (product_id)
WHERE sales.transaction_timestamp >= :start AND sales.transaction_timestamp < :end
GROUP BY 1, 2
